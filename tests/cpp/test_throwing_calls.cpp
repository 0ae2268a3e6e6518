// Each call from the engine to its user fails once, in turn. Afterwards the tables and the counters are unchanged, and
// the same chunk succeeds.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::broken_call;
using support::contents;
using support::user_calls;
using traits = support::watched_traits<id>;

namespace {
struct throwing_calls : ::testing::Test {
    void SetUp() override { traits::collide = true; } // so that every search compares
    void TearDown() override { traits::collide = false; }
};

std::uint64_t sum(const mp::counters& of) {
    return of.requests + of.hits + of.misses + of.fetched + of.missing + of.evicted + of.queries;
}
} // namespace

TEST_F(throwing_calls, leave_a_memo_as_it_was) {
    memo_of<author, traits> memo(4);
    row_source<author> source = authors_numbered_to(8);
    source.unasked.push_back(std::make_shared<const author>(author{77, "not asked for", {}, {}, false}));
    std::vector<book> first = books_by({1, 2, 3, 99});
    attach_authors(memo, source, first);
    const auto before = contents(memo);
    mp::counters count[2];

    std::uint64_t failures = 0;
    for (std::uint64_t nth = 1;; ++nth) {
        std::vector<book> books = books_by({2, 5, 6, 99, 2, 98, 7});
        books[1].translator_id = 3;
        books[2].author_id_deferred = true;
        try {
            const user_calls::armed call(nth);
            attach_authors(memo, source, books, count);
            break;
        } catch (const broken_call&) {
            ++failures;
            ASSERT_EQ(contents(memo), before) << "call " << nth;
            ASSERT_EQ(sum(count[0]) + sum(count[1]), 0U) << "call " << nth;
        }
    }
    EXPECT_GT(failures, 50U) << "without a failure the test is vacuous";
    EXPECT_EQ(support::keys(memo), (std::vector<id>{7, 98, 2, 99}));
    EXPECT_EQ(count[0].requests, 7U);
    EXPECT_EQ(count[0].hits + count[0].misses, 6U);
    EXPECT_EQ(count[0].fetched, 3U);
    EXPECT_EQ(count[0].missing, 1U);
    EXPECT_EQ(count[1].hits, 1U);
}

TEST_F(throwing_calls, leave_links_and_their_memo_as_they_were) {
    mp::link_table<id, id, traits> links(3);
    memo_of<category, traits> memo(4);
    row_source<category> source = categories_numbered_to(9);
    link_source between{{{1, 1}, {1, 2}, {2, 2}, {4, 4}, {5, 4}, {4, 1}, {4, 4}, {4, 70}}, {}, {}};
    std::vector<book> first = books_numbered({1, 2, 3});
    attach_categories(links, memo, between, source, first);
    const auto links_before = contents(links);
    const auto memo_before = contents(memo);
    const std::size_t stored = links.stored();
    mp::counters rows;
    mp::counters link_count;

    std::uint64_t failures = 0;
    for (std::uint64_t nth = 1;; ++nth) {
        std::vector<book> books = books_numbered({3, 4, 1, 5, 4, 0, 6});
        try {
            const user_calls::armed call(nth);
            attach_categories(links, memo, between, source, books, rows, link_count);
            break;
        } catch (const broken_call&) {
            ++failures;
            ASSERT_EQ(contents(links), links_before) << "call " << nth;
            ASSERT_EQ(contents(memo), memo_before) << "call " << nth;
            ASSERT_EQ(links.stored(), stored) << "call " << nth;
            ASSERT_EQ(sum(rows) + sum(link_count), 0U) << "call " << nth;
        }
    }
    EXPECT_GT(failures, 50U) << "without a failure the test is vacuous";
    EXPECT_EQ(link_count.requests, 6U);
    EXPECT_EQ(link_count.hits, 2U);
    EXPECT_EQ(link_count.misses, 3U);
    EXPECT_EQ(rows.fetched, 1U);
    EXPECT_EQ(rows.missing, 1U);
}

TEST_F(throwing_calls, of_a_search_change_nothing) {
    memo_of<author, traits> memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2, 3});
    attach_authors(memo, source, books);
    const auto before = contents(memo);
    for (std::uint64_t nth = 1; nth <= 4; ++nth) { // a hash, three comparisons
        const user_calls::armed call(nth);
        EXPECT_THROW(static_cast<void>(memo.find(4)), broken_call);
    }
    EXPECT_EQ(contents(memo), before);
    EXPECT_EQ(memo.find(4), mp::no_slot);
}

TEST_F(throwing_calls, are_not_made_by_what_cannot_fail) {
    memo_of<author, traits> memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2, 3});
    attach_authors(memo, source, books);
    const mp::slot_id slot = memo.find(2);
    const user_calls::armed any(1);
    memo.use(slot);
    memo.erase(slot);
    memo.set_bound(1);
    memo.trim();
    memo.reclaim();
    memo.clear();
    EXPECT_FALSE(any.tripped());
}
