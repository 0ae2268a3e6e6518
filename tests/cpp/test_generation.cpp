// Rows that were invalidated while they were being fetched serve their chunk and are not remembered.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;

TEST(generation, that_changes_during_the_fetch_keeps_its_rows_out) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> first = books_by({1});
    attach_authors(memo, source, first);
    for (const bool clears : {false, true}) {
        source.during_fetch = [&] { clears ? memo.clear() : memo.next_generation(); };
        std::vector<book> books = books_by({1, 2, 99});
        mp::counters count[2];
        attach_authors(memo, source, books, count);
        EXPECT_EQ(books[0].by.row, first[0].by.row) << "what was found before serves the chunk as well";
        EXPECT_EQ(books[1].by.row->pk, 2);
        EXPECT_EQ(books[2].by.state, attachment::empty);
        EXPECT_EQ(memo.find(2), mp::no_slot);
        EXPECT_EQ(memo.find(99), mp::no_slot);
        EXPECT_EQ(memo.size(), clears ? 0U : 1U);
        EXPECT_EQ(count[0].fetched, 1U);
        EXPECT_EQ(count[0].missing, 1U);
        EXPECT_TRUE(memo.consistent());
    }
    EXPECT_EQ(first[0].by.row.use_count(), 1);
}

TEST(generation, of_the_next_chunk_is_the_new_one) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    source.during_fetch = [&] { memo.next_generation(); };
    for (int chunk = 0; chunk < 3; ++chunk) {
        std::vector<book> books = books_by({1});
        attach_authors(memo, source, books);
    }
    EXPECT_EQ(source.queries.size(), 2U);
    EXPECT_EQ(memo.size(), 1U);
}
