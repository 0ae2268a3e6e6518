// Linked rows: in the order of the links, with duplicates.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::contents;
using queries = std::vector<std::vector<id>>;

namespace {
struct generous_links : link_source {
    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        take(50, 1);
        link_source::fetch(asked, take);
        take(1, 9); // answered by memory
    }
};

struct to_many_pass : ::testing::Test {
    book_links links;
    category_memo memo;
    link_source between;
    row_source<category> source = categories_numbered_to(9);
    mp::counters rows;
    mp::counters link_count;

    std::vector<book> process(std::initializer_list<id> keys) {
        std::vector<book> books = books_numbered(keys);
        process(books);
        return books;
    }
    void process(std::vector<book>& books) { attach_categories(links, memo, between, source, books, rows, link_count); }
    static std::vector<id> of(const book& one) {
        std::vector<id> keys;
        for (const auto& row : one.categories) {
            keys.push_back(row->pk);
        }
        return keys;
    }
};
} // namespace

TEST_F(to_many_pass, attaches_in_order_with_duplicates_and_makes_two_queries) {
    // The links of different books are interleaved.
    between.links = {{1, 3}, {2, 5}, {1, 1}, {2, 3}, {1, 3}, {3, 9}};
    const std::vector<book> books = process({2, 1, 4});
    EXPECT_EQ(of(books[0]), (std::vector<id>{5, 3}));
    EXPECT_EQ(of(books[1]), (std::vector<id>{3, 1, 3}));
    EXPECT_TRUE(of(books[2]).empty());
    EXPECT_EQ(books[0].categories[1], books[1].categories[0]);
    EXPECT_EQ(between.queries, (queries{{2, 1, 4}}));
    EXPECT_EQ(source.queries, (queries{{3, 5, 1}}));
    EXPECT_EQ(link_count.requests, 3U);
    EXPECT_EQ(link_count.misses, 3U);
    EXPECT_EQ(link_count.fetched, 5U);
    EXPECT_EQ(rows.requests, 5U);
    EXPECT_EQ(rows.fetched, 3U);
}

TEST_F(to_many_pass, asks_for_nothing_twice) {
    between.links = {{1, 3}, {2, 5}, {3, 5}, {3, 4}};
    process({1, 2});
    const std::vector<book> books = process({3, 2, 1, 3});
    EXPECT_EQ(of(books[0]), (std::vector<id>{5, 4}));
    EXPECT_EQ(of(books[1]), std::vector<id>{5});
    EXPECT_EQ(of(books[3]), (std::vector<id>{5, 4}));
    process({1, 2, 3});
    EXPECT_EQ(between.queries, (queries{{1, 2}, {3}}));
    EXPECT_EQ(source.queries, (queries{{3, 5}, {4}}));
}

TEST_F(to_many_pass, fetches_evicted_rows_again_without_reading_links) {
    between.links = {{1, 3}, {1, 4}};
    memo.set_bound(1);
    process({1});
    const std::vector<book> books = process({1});
    EXPECT_EQ(of(books[0]), (std::vector<id>{3, 4}));
    EXPECT_EQ(between.queries.size(), 1U);
    EXPECT_EQ(source.queries, (queries{{3, 4}, {3}}));
    EXPECT_EQ(rows.evicted, 2U);
}

TEST_F(to_many_pass, leaves_out_targets_without_a_row) {
    between.links = {{1, 77}, {1, 3}, {2, 77}};
    for (int chunk = 0; chunk < 2; ++chunk) {
        const std::vector<book> books = process({1, 2});
        EXPECT_EQ(of(books[0]), std::vector<id>{3});
        EXPECT_EQ(books[1].categories_state, attachment::empty);
    }
    EXPECT_EQ(source.queries.size(), 1U);
    EXPECT_EQ(rows.missing, 1U);
}

TEST_F(to_many_pass, drops_links_that_were_not_asked_for) {
    generous_links more;
    between.links = {{1, 3}, {2, 4}};
    more.links = between.links;
    process({1});
    std::vector<book> books = books_numbered({1, 2});
    mp::to_many_pass<book_links, category_memo> pass(links, memo);
    categories_of_books objects{books};
    pass.collect(objects);
    pass.resolve(more, source);
    pass.attach(objects);
    EXPECT_EQ(of(books[0]), std::vector<id>{3});
    EXPECT_EQ(of(books[1]), std::vector<id>{4});
    EXPECT_EQ(links.find(50), mp::no_slot);
}

TEST_F(to_many_pass, gives_objects_without_a_key_nothing_and_leaves_attached_ones_alone) {
    between.links = {{1, 3}, {2, 4}};
    std::vector<book> books = books_numbered({0, 1, 2});
    books[2].categories_state = attachment::row;
    process(books);
    EXPECT_EQ(books[0].categories_state, attachment::empty);
    EXPECT_EQ(of(books[1]), std::vector<id>{3});
    EXPECT_TRUE(books[2].categories.empty());
    EXPECT_EQ(between.queries, (queries{{1}}));
    EXPECT_EQ(link_count.requests, 1U);
}

TEST_F(to_many_pass, orders_both_tables_by_last_use) {
    between.links = {{1, 3}, {1, 4}, {2, 5}, {2, 3}, {3, 9}};
    process({3, 1});
    process({2, 1, 2, 0});
    EXPECT_EQ(support::keys(links), (std::vector<id>{2, 1, 3}));
    EXPECT_EQ(support::keys(memo), (std::vector<id>{3, 5, 4, 9}));
}

TEST_F(to_many_pass, keeps_links_within_their_bound_of_sources) {
    between.links = {{1, 3}, {1, 4}, {2, 5}, {3, 9}};
    links.set_bound(2);
    const std::vector<book> books = process({1, 2, 3});
    EXPECT_EQ(of(books[0]), (std::vector<id>{3, 4})) << "more than the bound are served all the same";
    EXPECT_EQ(support::keys(links), (std::vector<id>{3, 2}));
    EXPECT_EQ(link_count.evicted, 1U);
}

TEST_F(to_many_pass, keeps_links_of_a_generation_only) {
    between.links = {{1, 3}};
    between.during_fetch = [&] { links.next_generation(); };
    const std::vector<book> books = process({1});
    EXPECT_EQ(of(books[0]), std::vector<id>{3});
    EXPECT_EQ(links.size(), 0U);
    EXPECT_EQ(memo.size(), 1U);
}

TEST_F(to_many_pass, is_undone_in_both_tables_when_the_second_query_fails) {
    between.links = {{1, 3}, {2, 5}};
    process({1});
    const auto links_before = contents(links);
    const auto memo_before = contents(memo);
    source.during_fetch = [] { throw std::runtime_error("the second query fails"); };
    EXPECT_THROW(process({1, 2}), std::runtime_error);
    EXPECT_EQ(contents(links), links_before);
    EXPECT_EQ(contents(memo), memo_before);
    EXPECT_EQ(of(process({2})[0]), std::vector<id>{5});
}

TEST_F(to_many_pass, may_run_within_the_query_of_another) {
    between.links = {{1, 3}, {2, 5}, {2, 3}};
    std::vector<book> inner;
    between.during_fetch = [&] { inner = process({1, 2}); };
    const std::vector<book> outer = process({2, 1});
    EXPECT_EQ(of(outer[0]), (std::vector<id>{5, 3}));
    EXPECT_EQ(outer[0].categories, inner[1].categories) << "one row is one instance";
    EXPECT_EQ(links.size(), 2U);
    EXPECT_EQ(links.stored(), 3U);
    EXPECT_EQ(links.pins(links.find(1)), 0U);
    EXPECT_TRUE(links.consistent());
}
