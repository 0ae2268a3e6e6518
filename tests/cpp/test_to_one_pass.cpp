// Rows found by the objects' own keys: fetched once, attached to every object that asked.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

using namespace bookshop;
using queries = std::vector<std::vector<id>>;

TEST(to_one_pass, fetches_distinct_keys_in_first_seen_order_and_shares_the_row) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> books = books_by({3, 1, 3, 2, 1});
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(source.queries, (queries{{3, 1, 2}}));
    for (const book& one : books) {
        ASSERT_EQ(one.by.state, attachment::row);
        EXPECT_EQ(one.by.row->pk, *one.author_id);
    }
    EXPECT_EQ(books[0].by.row, books[2].by.row);
    EXPECT_EQ(count[0].requests, 5U);
    EXPECT_EQ(count[0].misses, 3U);
    EXPECT_EQ(count[0].hits, 0U);
    EXPECT_EQ(count[0].fetched, 3U);
    EXPECT_EQ(count[0].queries, 0U) << "statements are counted by who sends them";
}

TEST(to_one_pass, fetches_what_memory_does_not_know_and_nothing_when_it_knows_all) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> first = books_by({1, 2});
    std::vector<book> second = books_by({2, 3});
    std::vector<book> third = books_by({3, 1, 2});
    attach_authors(memo, source, first);
    attach_authors(memo, source, second);
    attach_authors(memo, source, third);
    EXPECT_EQ(source.queries, (queries{{1, 2}, {3}}));
    EXPECT_EQ(third[2].by.row, first[1].by.row);
}

TEST(to_one_pass, attaches_none_for_a_null_key_and_for_a_missing_row) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(1);
    std::vector<book> books = books_by({1, 9, 1});
    books[2].author_id.reset();
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(books[1].by, (relation<author>{attachment::empty, nullptr}));
    EXPECT_EQ(books[2].by, (relation<author>{attachment::empty, nullptr}));
    EXPECT_EQ(books[0].translated_by.state, attachment::empty);
    EXPECT_EQ(count[0].requests, 2U) << "a null key asks for nothing";
    EXPECT_EQ(count[1].requests, 0U);
}

TEST(to_one_pass, takes_zero_for_a_key_like_any_other) {
    author_memo memo;
    row_source<author> source{author{0, "zero", {}, {}, false}};
    std::vector<book> books = books_by({0});
    attach_authors(memo, source, books);
    EXPECT_EQ(books[0].by.row->name, "zero");
}

TEST(to_one_pass, leaves_alone_what_is_attached_and_asks_nothing_for_it) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> books = books_by({1, 2, 3});
    const auto mine = std::make_shared<const author>(author{1, "mine", {}, {}, false});
    books[0].by = {attachment::row, mine};
    books[1].by = {attachment::empty, nullptr};
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(source.queries, (queries{{3}}));
    EXPECT_EQ(books[0].by.row, mine);
    EXPECT_EQ(books[1].by.state, attachment::empty);
    EXPECT_EQ(count[0].requests, 1U);
}

TEST(to_one_pass, runs_no_query_for_no_objects_or_no_keys) {
    author_memo memo;
    row_source<author> source;
    std::vector<book> none;
    attach_authors(memo, source, none);
    std::vector<book> null_keys(3);
    attach_authors(memo, source, null_keys);
    EXPECT_TRUE(source.queries.empty());
    EXPECT_EQ(memo.size(), 0U);
}

TEST(to_one_pass, takes_one_object_twice) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(1);
    struct twice : authors_of_books {
        [[nodiscard]] static std::size_t size() { return 2; }
        void read(std::size_t, std::span<mp::key_reading<id>> keys) const { authors_of_books::read(0, keys); }
        void attach(std::size_t, std::span<const std::shared_ptr<const author>* const> rows) const {
            authors_of_books::attach(0, rows);
        }
    };
    std::vector<book> books = books_by({1});
    twice objects{{books}};
    mp::to_one_pass<author_memo> pass(memo);
    const std::size_t number = pass.collect(objects);
    pass.resolve(source);
    pass.attach(number, objects);
    EXPECT_EQ(books[0].by.row->pk, 1);
}
