// Forgetting one entry or everything. Rows fetched before that must not come back.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::keys;

TEST(erase, takes_out_one_entry_and_its_key_is_asked_for_again) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2, 3});
    attach_authors(memo, source, books);
    for (const id key : {2, 1, 3}) { // the middle, an end, the last one
        memo.erase(memo.find(key));
        EXPECT_EQ(memo.find(key), mp::no_slot);
        EXPECT_TRUE(memo.consistent());
    }
    memo.reclaim();
    EXPECT_EQ(memo.size(), 0U);
    std::vector<book> again = books_by({2});
    attach_authors(memo, source, again);
    EXPECT_EQ(source.queries.back(), std::vector<id>{2});
    EXPECT_NE(again[0].by.row, books[1].by.row);
}

TEST(clear, forgets_all_and_starts_a_generation) {
    author_memo memo(7);
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2, 9});
    attach_authors(memo, source, books);
    const std::uint64_t generation = memo.generation();
    memo.clear();
    EXPECT_EQ(memo.size(), 0U);
    EXPECT_EQ(memo.bound(), 7U);
    EXPECT_NE(memo.generation(), generation);
    EXPECT_EQ(books[0].by.row.use_count(), 1) << "the memo let go of it";
    attach_authors(memo, source, books = books_by({1}));
    EXPECT_EQ(keys(memo), std::vector<id>{1});
    EXPECT_TRUE(memo.consistent());
}

TEST(clear, of_links_lets_go_of_their_targets) {
    mp::link_table<int, std::shared_ptr<int>> links;
    const auto target = std::make_shared<int>(1);
    links.reserve_links(2, 3);
    const mp::slot_id first = links.add_source(1);
    links.add_target(first, target);
    links.add_target(first, target);
    links.add_target(links.add_source(2), target);
    EXPECT_EQ(target.use_count(), 4);
    links.clear();
    EXPECT_EQ(target.use_count(), 1);
    EXPECT_EQ(links.stored(), 0U);
    EXPECT_EQ(links.gaps(), 3U);
}

TEST(erase, is_not_what_a_new_generation_does) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(1);
    std::vector<book> books = books_by({1});
    attach_authors(memo, source, books);
    memo.next_generation();
    EXPECT_EQ(memo.size(), 1U);
    attach_authors(memo, source, books = books_by({1}));
    EXPECT_EQ(source.queries.size(), 1U);
}
