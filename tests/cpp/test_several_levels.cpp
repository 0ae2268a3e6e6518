// Nested relations are successive passes: the rows of one level are the objects of the next.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <set>

using namespace bookshop;
using support::contents;
using queries = std::vector<std::vector<id>>;

namespace {
struct several_levels : ::testing::Test {
    author_memo authors{10};
    memo_of<country> countries{10};
    row_source<author> author_rows;
    row_source<country> country_rows{{1, "Iceland"}, {2, "Chile"}};

    void SetUp() override {
        for (id key = 1; key <= 6; ++key) {
            author_rows.rows[key] = {key, "", key == 6 ? std::optional<id>() : 1 + key % 3, {}, false}; // 3 dangles
        }
    }
    void process(std::vector<book>& books) {
        mp::to_one_pass<author_memo> pass(authors);
        authors_of_books objects{books};
        const std::size_t number = pass.collect(objects);
        pass.resolve(author_rows);
        pass.attach(number, objects);

        std::vector<std::shared_ptr<const author>> rows;
        std::set<id> seen;
        for (const book& one : books) {
            if (one.by.row && seen.insert(one.by.row->pk).second) {
                rows.push_back(one.by.row);
            }
        }
        mp::to_one_pass<memo_of<country>> below(countries);
        countries_of_authors of_authors{rows};
        const std::size_t number_below = below.collect(of_authors);
        below.resolve(country_rows);
        below.attach(number_below, of_authors);

        mp::counters count[2];
        mp::counters count_below;
        below.commit({&count_below, 1});
        pass.commit(count);
    }
};
} // namespace

TEST_F(several_levels, make_one_query_each) {
    std::vector<book> books = books_by({1, 2, 3, 4, 5, 6, 1, 99});
    process(books);
    EXPECT_EQ(author_rows.queries.size(), 1U);
    EXPECT_EQ(country_rows.queries, (queries{{2, 3, 1}}));
    EXPECT_EQ(books[0].by.row->lives_in->name, "Chile");
    EXPECT_EQ(books[1].by.row->lives_in, nullptr);
    EXPECT_EQ(books[2].by.row->lives_in->name, "Iceland");
    EXPECT_EQ(books[5].by.row->lives_in, nullptr);
}

TEST_F(several_levels, ask_nothing_for_rows_that_have_it_attached) {
    std::vector<book> books = books_by({1, 3});
    process(books);
    std::vector<book> again = books_by({3, 1});
    process(again);
    EXPECT_EQ(country_rows.queries.size(), 1U);
    EXPECT_EQ(author_rows.queries.size(), 1U);
}

TEST_F(several_levels, roll_back_together) {
    const auto authors_before = contents(authors);
    const auto countries_before = contents(countries);
    country_rows.during_fetch = [] { throw std::runtime_error("the second query fails"); };
    std::vector<book> books = books_by({1, 2, 3});
    EXPECT_THROW(process(books), std::runtime_error);
    EXPECT_EQ(contents(authors), authors_before);
    EXPECT_EQ(contents(countries), countries_before);
}
