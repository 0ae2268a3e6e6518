// During each call from the engine to its user, in turn, other code runs: another chunk on the same tables, or a
// clearing of them. The interrupted chunk gets what it asked for, and the tables stay consistent.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::user_calls;
using traits = support::watched_traits<id>;

namespace {
template <class Table>
void expect_at_rest(const Table& table) {
    EXPECT_TRUE(table.consistent());
    EXPECT_LE(table.size(), table.bound());
    for (const auto& entry : support::contents(table).newest_first) {
        EXPECT_EQ(entry.pins, 0U);
    }
}

struct reentrant_calls : ::testing::Test {
    void SetUp() override { traits::collide = true; }
    void TearDown() override { traits::collide = false; }

    /// Runs `chunk` until all its calls have had their turn. Returns how many there were.
    template <class Prepare, class Meddle, class Chunk>
    static std::uint64_t at_every_call(Prepare&& prepare, Meddle&& meddle, Chunk&& chunk) {
        for (std::uint64_t nth = 1;; ++nth) {
            SCOPED_TRACE(::testing::Message() << "call " << nth);
            prepare();
            const user_calls::armed call(nth, meddle);
            chunk();
            if (!call.tripped() || HasFailure()) {
                return nth - 1;
            }
        }
    }
};
} // namespace

TEST_F(reentrant_calls, of_a_to_one_pass) {
    memo_of<author, traits> memo(4);
    row_source<author> source = authors_numbered_to(9);
    source.releases_are_calls = true;
    const auto use = [&](std::initializer_list<id> keys) {
        std::vector<book> books = books_by(keys);
        attach_authors(memo, source, books);
        return books;
    };
    const auto prepare = [&] {
        memo.clear();
        memo.set_bound(4);
        use({1, 2, 3, 99});
        memo.handle(memo.find(2))->deleted = true; // stale
        source.unasked = {source.make({77, "not asked for", {}, {}, false})};
    };
    const auto chunk = [&] {
        const std::vector<book> books = use({1, 2, 5, 99, 3, 98, 5, 6});
        for (const book& one : books) {
            ASSERT_EQ(one.by.state, *one.author_id > 9 ? attachment::empty : attachment::row);
            ASSERT_TRUE(!one.by.row || (one.by.row->pk == *one.author_id && !one.by.row->deleted));
        }
        EXPECT_EQ(books[2].by.row, books[6].by.row);
        expect_at_rest(memo);
    };
    EXPECT_GT(at_every_call(
                  prepare,
                  [&] {
                      use({7, 8, 5, 3, 2, 98, 4});
                  },
                  chunk),
              80U);
    EXPECT_GT(at_every_call(
                  prepare, [&] { memo.clear(); }, chunk),
              80U);
    EXPECT_GT(at_every_call(
                  prepare,
                  [&] {
                      memo.clear(), use({5, 1, 2, 3});
                  },
                  chunk),
              80U);
    EXPECT_GT(at_every_call(
                  prepare, [&] { memo.set_bound(1), memo.trim(), memo.reclaim(); }, chunk),
              80U);
}

TEST_F(reentrant_calls, of_a_to_many_pass) {
    mp::link_table<id, id, traits> links(3);
    memo_of<category, traits> memo(4);
    row_source<category> source = categories_numbered_to(9);
    source.releases_are_calls = true;
    link_source between{{{1, 1}, {2, 2}, {1, 2}, {3, 70}, {4, 4}, {5, 4}, {4, 1}, {4, 4}}, {}, {}};
    const auto use = [&](std::initializer_list<id> keys) {
        std::vector<book> books = books_numbered(keys);
        attach_categories(links, memo, between, source, books);
        return books;
    };
    const auto prepare = [&] {
        links.clear();
        memo.clear();
        use({1, 3});
        memo.handle(memo.find(2))->deleted = true;
    };
    const auto chunk = [&] {
        const std::vector<book> books = use({4, 1, 3, 6, 4, 2});
        ASSERT_EQ(books[0].categories.size(), 3U);
        EXPECT_EQ(books[0].categories[0]->pk, 4);
        EXPECT_EQ(books[0].categories[1]->pk, 1);
        EXPECT_EQ(books[0].categories[2], books[0].categories[0]);
        ASSERT_EQ(books[1].categories.size(), 2U);
        EXPECT_EQ(books[1].categories[1], books[5].categories[0]);
        EXPECT_FALSE(books[5].categories[0]->deleted);
        EXPECT_EQ(books[2].categories_state, attachment::empty);
        EXPECT_EQ(books[3].categories_state, attachment::empty);
        expect_at_rest(links);
        expect_at_rest(memo);
    };
    EXPECT_GT(at_every_call(
                  prepare,
                  [&] {
                      use({5, 4, 2, 6});
                  },
                  chunk),
              80U);
    EXPECT_GT(at_every_call(
                  prepare, [&] { links.clear(), memo.clear(); }, chunk),
              80U);
    EXPECT_GT(at_every_call(
                  prepare,
                  [&] {
                      links.clear(), use({4, 1});
                  },
                  chunk),
              80U);
}
