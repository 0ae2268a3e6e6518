// Each allocation of a chunk fails once, in turn. Afterwards the tables are unchanged, and the same chunk succeeds.
#include "support/bombing_allocator.hpp"
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::allocations;
using support::contents;
using traits = mp::key_traits<id>;
using bombing = support::bombing_allocator<std::byte>;

namespace {
std::vector<book> many_books(id first, id count) {
    std::vector<book> books;
    for (id one = 0; one < count; ++one) {
        book added;
        added.pk = first + one;
        added.author_id = first + one % 60;
        added.translator_id = one % 3 == 0 ? std::optional<id>() : 1 + one % 7;
        added.author_id_deferred = one % 10 == 0;
        books.push_back(added);
    }
    return books;
}
} // namespace

TEST(allocation_failure, leaves_a_memo_as_it_was) {
    row_source<author> source = authors_numbered_to(90);
    mp::counters count[2];

    std::uint64_t failures = 0;
    for (bool failed = true; failed;) {
        memo_of<author, traits, bombing> memo(40); // new each time: the next chunk can use what a failed one allocated
        std::vector<book> first = many_books(1, 30);
        attach_authors(memo, source, first);
        const auto before = contents(memo);
        const std::uint64_t nth = failures + 1;
        std::vector<book> books = many_books(20, 200);
        try {
            const allocations::armed bomb(nth);
            attach_authors(memo, source, books, count);
            failed = false;
        } catch (const std::bad_alloc&) {
            ++failures;
            ASSERT_EQ(contents(memo), before) << "allocation " << nth;
            ASSERT_EQ(count[0].requests, 0U) << "allocation " << nth;
            attach_authors(memo, source, books);
        }
        for (const book& one : books) {
            ASSERT_EQ(one.by.row->pk, *one.author_id) << "after allocation " << nth;
        }
        ASSERT_EQ(memo.size(), 40U);
    }
    EXPECT_GT(failures, 20U) << "without a failure the test is vacuous";
    EXPECT_EQ(count[0].requests, 200U);
}

TEST(allocation_failure, leaves_links_and_their_memo_as_they_were) {
    mp::link_table<id, id, traits, bombing> links(50);
    memo_of<category, traits, bombing> memo(20);
    row_source<category> source = categories_numbered_to(40);
    link_source between;
    for (id one = 1; one <= 300; ++one) {
        for (id target = 0; target < one % 5; ++target) {
            between.links.emplace_back(one, 1 + (one + target) % 45); // five of them dangle
        }
    }
    std::vector<book> books = many_books(1, 60);
    attach_categories(links, memo, between, source, books);
    const auto links_before = contents(links);
    const auto memo_before = contents(memo);
    mp::counters rows;
    mp::counters link_count;

    std::uint64_t failures = 0;
    for (std::uint64_t nth = 1;; ++nth) {
        books = many_books(50, 150);
        try {
            const allocations::armed bomb(nth);
            attach_categories(links, memo, between, source, books, rows, link_count);
            break;
        } catch (const std::bad_alloc&) {
            ++failures;
            ASSERT_EQ(contents(links), links_before) << "allocation " << nth;
            ASSERT_EQ(contents(memo), memo_before) << "allocation " << nth;
            ASSERT_EQ(rows.requests + link_count.requests, 0U) << "allocation " << nth;
        }
    }
    EXPECT_GT(failures, 30U) << "without a failure the test is vacuous";
    EXPECT_EQ(links.size(), 50U);
    EXPECT_EQ(link_count.requests, 150U);
    for (const book& one : books) {
        std::size_t expected = 0;
        for (const auto& [from, to] : between.links) {
            expected += from == one.pk && to <= 40 ? 1U : 0U;
        }
        EXPECT_EQ(one.categories.size(), expected);
    }
}

TEST(allocation_failure, of_a_compaction_leaves_links_as_they_were) {
    mp::link_table<id, id, traits, bombing> links(10);
    const auto put = [&](id source) {
        links.reserve_links(1, 2);
        const mp::slot_id slot = links.add_source(source);
        links.add_target(slot, source);
        links.add_target(slot, source + 1);
        links.trim();
        links.reclaim();
    };
    id source = 0;
    std::uint64_t failures = 0;
    for (std::size_t compactions = 0; compactions < 3;) {
        const auto before = contents(links);
        const std::size_t gaps = links.gaps();
        try {
            const allocations::armed bomb(1);
            put(source);
        } catch (const std::bad_alloc&) {
            ++failures;
            ASSERT_EQ(contents(links), before);
            ASSERT_EQ(links.gaps(), gaps);
            put(source);
        }
        compactions += links.gaps() < gaps ? 1U : 0U;
        ++source;
    }
    EXPECT_GE(failures, 3U) << "without a failure the test is vacuous";
}
