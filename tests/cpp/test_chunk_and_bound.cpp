// The bound holds after each chunk. A chunk gets all that it needs, even if that is more. The last used entries stay.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::contents;
using support::keys;

TEST(chunk_and_bound, a_chunk_may_be_larger_than_the_bound) {
    for (const std::size_t bound : {0U, 1U, 3U}) {
        author_memo memo(bound);
        row_source<author> source = authors_numbered_to(10);
        std::vector<book> books = books_by({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
        mp::counters count[2];
        EXPECT_EQ(attach_authors(memo, source, books, count), 10 - bound);
        for (const book& one : books) {
            EXPECT_EQ(one.by.row->pk, *one.author_id);
        }
        EXPECT_EQ(memo.size(), bound);
        EXPECT_EQ(count[0].evicted, 10 - bound);
        if (bound == 3) {
            EXPECT_EQ(keys(memo), (std::vector<id>{10, 9, 8}));
        }
    }
}

TEST(chunk_and_bound, order_is_that_of_the_last_use_by_the_objects) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(9);
    std::vector<book> books = books_by({5, 6, 7});
    attach_authors(memo, source, books);
    EXPECT_EQ(keys(memo), (std::vector<id>{7, 6, 5}));
    books = books_by({6, 1, 2, 6, 3, 1});
    books[1].translator_id = 9;
    attach_authors(memo, source, books);
    EXPECT_EQ(keys(memo), (std::vector<id>{1, 3, 6, 2, 9, 7, 5}));
    EXPECT_TRUE(memo.consistent());
}

TEST(chunk_and_bound, hits_of_the_chunk_are_not_driven_out_by_its_misses) {
    author_memo memo(2);
    row_source<author> source = authors_numbered_to(9);
    std::vector<book> books = books_by({1, 2});
    attach_authors(memo, source, books);
    const auto row = books[0].by.row;
    books = books_by({3, 4, 5, 1});
    attach_authors(memo, source, books);
    EXPECT_EQ(books[3].by.row, row);
    EXPECT_EQ(keys(memo), (std::vector<id>{1, 5}));
}

TEST(chunk_and_bound, a_failed_chunk_leaves_the_order_and_evicts_nothing) {
    author_memo memo(3);
    row_source<author> source = authors_numbered_to(9);
    std::vector<book> books = books_by({1, 2, 3});
    attach_authors(memo, source, books);
    const auto before = contents(memo);
    source.during_fetch = [] { throw std::runtime_error("interrupted"); };
    books = books_by({1, 4, 5, 6, 7});
    EXPECT_THROW(attach_authors(memo, source, books), std::runtime_error);
    EXPECT_EQ(contents(memo), before);
}

TEST(chunk_and_bound, rows_evicted_are_released_when_the_chunk_lets_go_of_them) {
    author_memo memo(0);
    row_source<author> source = authors_numbered_to(1);
    std::weak_ptr<const author> row;
    {
        std::vector<book> books = books_by({1});
        attach_authors(memo, source, books);
        row = books[0].by.row;
        EXPECT_EQ(row.use_count(), 1) << "the book's";
    }
    EXPECT_TRUE(row.expired());
}
