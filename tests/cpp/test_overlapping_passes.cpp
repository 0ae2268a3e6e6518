// Several chunks at once on one memo: side by side, or one during the query of another.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <optional>

using namespace bookshop;
using support::keys;
using pass_of_authors = mp::to_one_pass<author_memo>;
using queries = std::vector<std::vector<id>>;

namespace {
struct overlapping_passes : ::testing::Test {
    author_memo memo{2};
    row_source<author> source = authors_numbered_to(20);
    mp::counters count[2];
};
} // namespace

TEST_F(overlapping_passes, keep_their_rows_until_the_last_ends) {
    std::vector<book> first_books = books_by({1, 2, 3});
    std::vector<book> second_books = books_by({3, 4, 5});
    authors_of_books first_objects{first_books};
    authors_of_books second_objects{second_books};
    std::optional<pass_of_authors> first(std::in_place, memo);
    first->collect(first_objects);
    first->resolve(source);
    pass_of_authors second(memo);
    second.collect(second_objects);
    second.resolve(source);
    EXPECT_EQ(source.queries, (queries{{1, 2, 3}, {4, 5}}));
    EXPECT_EQ(memo.pins(memo.find(3)), 2U);

    first->commit(count);
    EXPECT_EQ(first->release(), 2U) << "1 and 2; the others are in use";
    first.reset();
    EXPECT_EQ(memo.size(), 3U);
    second.attach(0, second_objects);
    EXPECT_EQ(second_books[0].by.row->pk, 3);
    second.commit(count);
    EXPECT_EQ(second.release(), 1U);
    EXPECT_EQ(keys(memo), (std::vector<id>{5, 4}));
}

TEST_F(overlapping_passes, that_fail_leave_what_another_relies_on) {
    std::vector<book> first_books = books_by({1, 2});
    std::vector<book> second_books = books_by({2});
    authors_of_books first_objects{first_books};
    authors_of_books second_objects{second_books};
    std::optional<pass_of_authors> first(std::in_place, memo);
    first->collect(first_objects);
    first->resolve(source);
    pass_of_authors second(memo);
    second.collect(second_objects);
    second.resolve(source);
    first.reset(); // never committed
    EXPECT_EQ(keys(memo), std::vector<id>{2});
    second.commit(count);
    second.release();
    EXPECT_EQ(keys(memo), std::vector<id>{2});
}

TEST_F(overlapping_passes, within_a_query_give_one_instance_per_row) {
    std::vector<book> inner = books_by({2, 3, 1});
    source.during_fetch = [&] { attach_authors(memo, source, inner); };
    std::vector<book> outer = books_by({1, 2});
    attach_authors(memo, source, outer, count);
    EXPECT_EQ(outer[0].by.row->pk, 1);
    EXPECT_EQ(outer[0].by.row, inner[2].by.row);
    EXPECT_EQ(memo.handle(memo.find(1)), inner[2].by.row);
    EXPECT_EQ(outer[1].by.row->pk, 2) << "evicted before the outer one ended: read by both";
    EXPECT_EQ(keys(memo), (std::vector<id>{2, 1}));
    EXPECT_TRUE(memo.consistent());
}

TEST_F(overlapping_passes, within_a_query_may_find_a_row_that_the_other_misses) {
    source.rows.erase(1);
    std::vector<book> inner = books_by({1});
    source.during_fetch = [&] {
        attach_authors(memo, source, inner);
        source.rows[1] = {1, "created meanwhile", {}, {}, false};
    };
    std::vector<book> outer = books_by({1});
    attach_authors(memo, source, outer);
    EXPECT_EQ(inner[0].by.state, attachment::empty);
    EXPECT_EQ(outer[0].by.row->name, "created meanwhile");
    EXPECT_EQ(memo.handle(memo.find(1)), outer[0].by.row) << "a row is known better than its absence";
}

TEST_F(overlapping_passes, within_a_query_that_fails_leave_what_was_completed) {
    std::vector<book> inner = books_by({2});
    source.during_fetch = [&] {
        attach_authors(memo, source, inner);
        throw std::runtime_error("only the outer one fails");
    };
    std::vector<book> outer = books_by({1, 2});
    EXPECT_THROW(attach_authors(memo, source, outer), std::runtime_error);
    EXPECT_EQ(keys(memo), std::vector<id>{2});
    EXPECT_EQ(memo.pins(memo.find(2)), 0U);
}

TEST_F(overlapping_passes, do_not_undo_an_entry_that_has_been_replaced_since) {
    std::vector<book> books = books_by({1});
    authors_of_books objects{books};
    std::optional<pass_of_authors> first(std::in_place, memo);
    first->collect(objects);
    first->resolve(source);
    memo.clear();
    std::vector<book> others = books_by({1});
    attach_authors(memo, source, others);
    first.reset();
    EXPECT_EQ(keys(memo), std::vector<id>{1});
    EXPECT_EQ(memo.handle(memo.find(1)), others[0].by.row);
    EXPECT_TRUE(memo.consistent());
}
