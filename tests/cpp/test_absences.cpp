// "No such row" and "no links" are remembered, as ordinary entries.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;

TEST(absences, a_missing_row_is_asked_for_once) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(2);
    mp::counters count[2];
    for (int chunk = 0; chunk < 3; ++chunk) {
        std::vector<book> books = books_by({1, 9});
        attach_authors(memo, source, books, count);
        EXPECT_EQ(books[1].by.state, attachment::empty);
        EXPECT_EQ(books[1].by.row, nullptr);
    }
    EXPECT_EQ(source.queries, (std::vector<std::vector<id>>{{1, 9}}));
    EXPECT_TRUE(memo.is_absent(memo.find(9)));
    EXPECT_FALSE(memo.is_absent(memo.find(1)));
    EXPECT_EQ(count[0].missing, 1U);
    EXPECT_EQ(count[0].fetched, 1U);
    EXPECT_EQ(count[0].hits, 4U) << "a known absence is a hit";
    EXPECT_EQ(count[0].misses, 2U);
}

TEST(absences, count_against_the_bound) {
    author_memo memo(2);
    row_source<author> source;
    std::vector<book> books = books_by({7, 8, 9});
    EXPECT_EQ(attach_authors(memo, source, books), 1U);
    EXPECT_EQ(support::keys(memo), (std::vector<id>{9, 8}));
}

TEST(absences, of_links_are_remembered_too) {
    book_links links;
    category_memo memo;
    link_source between{{{1, 5}}, {}, {}};
    row_source<category> source = categories_numbered_to(5);
    for (int chunk = 0; chunk < 2; ++chunk) {
        std::vector<book> books = books_numbered({1, 2});
        attach_categories(links, memo, between, source, books);
        EXPECT_EQ(books[0].categories.size(), 1U);
        EXPECT_EQ(books[1].categories_state, attachment::empty);
    }
    EXPECT_EQ(between.queries, (std::vector<std::vector<id>>{{1, 2}}));
    EXPECT_EQ(links.size(), 2U);
    EXPECT_EQ(links.targets(links.find(2)).size(), 0U);
}

TEST(absences, a_failed_query_leaves_none) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(1);
    source.during_fetch = [] { throw std::runtime_error("server closed the connection"); };
    std::vector<book> books = books_by({1, 9});
    EXPECT_THROW(attach_authors(memo, source, books), std::runtime_error);
    EXPECT_EQ(memo.size(), 0U);
    attach_authors(memo, source, books);
    EXPECT_EQ(memo.size(), 2U);
}
