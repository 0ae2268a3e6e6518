// A comparison may run any code, like Python's `__eq__`: it may change or use the very table that is being searched.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using support::contents;
using traits = support::watched_traits<id>;
using watched_memo = memo_of<author, traits>;
using watched_links = mp::link_table<id, id, traits>;

namespace {
struct equality_reentry : ::testing::Test {
    watched_memo table;
    row_source<author> source = authors_numbered_to(500);
    std::vector<book> books;

    void SetUp() override { traits::collide = true; }
    void TearDown() override {
        traits::collide = false;
        traits::on_equal = nullptr;
    }
    void use(std::initializer_list<id> authors) {
        std::vector<book> some = books_by(authors);
        attach_authors(table, source, some);
    }
};
} // namespace

TEST_F(equality_reentry, find_sees_what_the_comparison_did) {
    use({1, 2, 3});
    traits::on_equal = [&] { table.erase(table.find(2)); };
    EXPECT_EQ(table.find(2), mp::no_slot);

    traits::on_equal = [&] { use({2}); };
    EXPECT_EQ(table.key(table.find(2)), 2);

    traits::on_equal = [&] { table.clear(); };
    EXPECT_EQ(table.find(3), mp::no_slot);
    EXPECT_TRUE(table.consistent());
}

TEST_F(equality_reentry, find_survives_growth_and_the_reuse_of_its_place) {
    use({1, 2});
    traits::on_equal = [&] {
        table.clear();
        use({5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 2}); // one more would leave with its pin
    };
    const mp::slot_id slot = table.find(2);
    ASSERT_NE(slot, mp::no_slot);
    EXPECT_EQ(table.handle(slot)->pk, 2);
    EXPECT_TRUE(table.consistent());
}

TEST_F(equality_reentry, find_survives_a_chunk_after_which_the_table_gives_memory_back) {
    traits::collide = false;
    watched_memo small(2);
    const auto use_small = [&](id from, id to) {
        std::vector<book> some;
        for (id one = from; one <= to; ++one) {
            some.push_back(books_by({one}).front());
        }
        row_source<author> rows = authors_numbered_to(to);
        attach_authors(small, rows, some);
    };
    use_small(1, 2);
    std::size_t during = 0;
    traits::on_equal = [&] {
        use_small(3, 100'000);
        during = small.bytes();
    };
    EXPECT_EQ(small.find(2), mp::no_slot); // evicted meanwhile
    EXPECT_EQ(small.size(), 2U);
    EXPECT_LT(during, 1'000'000U); // the nodes of 100,000 rows take more
    EXPECT_TRUE(small.consistent());
}

TEST_F(equality_reentry, a_pass_survives_it_at_every_comparison) {
    use({1, 2, 3});
    const auto before = traits::comparisons;
    use({2, 3, 4, 2});
    const auto comparisons = traits::comparisons - before;
    ASSERT_GT(comparisons, 10U);

    for (const bool clears : {false, true}) {
        for (std::uint64_t at = 1; at <= comparisons; ++at) {
            SCOPED_TRACE(at);
            table.clear();
            use({1, 2, 3});
            std::uint64_t left = at;
            std::function<void()> countdown = [&] {
                if (--left > 0) {
                    traits::on_equal = countdown;
                } else if (clears) {
                    table.clear();
                } else {
                    use({4, 5, 6, 7, 8, 9, 3});
                }
            };
            traits::on_equal = countdown;
            books = books_by({2, 3, 4, 2});
            attach_authors(table, source, books);
            traits::on_equal = nullptr;
            for (const book& one : books) {
                ASSERT_EQ(one.by.state, attachment::row);
                EXPECT_EQ(one.by.row->pk, *one.author_id);
            }
            EXPECT_EQ(books[0].by.row, books[3].by.row);
            EXPECT_TRUE(table.consistent());
            for (const auto& entry : contents(table).newest_first) {
                EXPECT_EQ(entry.pins, 0U);
            }
        }
    }
}

TEST_F(equality_reentry, an_abandoned_pass_leaves_nothing_of_a_key_that_left_between_its_uses) {
    std::vector<std::optional<id>> authors(1, 1);
    for (id other = 200; other < 300; ++other) { // more than are asked for at once
        authors.emplace_back(other);
    }
    authors.emplace_back(1);
    std::size_t left_between = 0;
    for (std::uint64_t at = 1; at <= 400; at += 13) {
        SCOPED_TRACE(at);
        table.clear();
        use({1, 2});
        books = books_by({1});
        books.resize(authors.size(), books[0]);
        for (std::size_t book = 0; book < books.size(); ++book) {
            books[book].author_id = authors[book];
        }
        std::uint64_t left = at;
        std::function<void()> countdown = [&] {
            if (--left > 0) {
                traits::on_equal = countdown;
            } else if (const mp::slot_id slot = table.find(1); slot != mp::no_slot) {
                table.erase(slot);
                ++left_between;
            }
        };
        traits::on_equal = countdown;
        {
            mp::to_one_pass<watched_memo> pass(table);
            authors_of_books objects{books};
            static_cast<void>(pass.collect(objects));
            pass.resolve(source);
        }
        traits::on_equal = nullptr;
        EXPECT_TRUE(table.consistent());
        for (const auto& entry : contents(table).newest_first) {
            EXPECT_EQ(entry.pins, 0U);
            EXPECT_LE(entry.key, 2) << "nothing was committed";
        }
        EXPECT_EQ(table.find(1) != mp::no_slot, left > 0) << "once it has left";
    }
    EXPECT_GT(left_between, 10U);
}

TEST_F(equality_reentry, rows_declared_out_of_date_by_a_comparison_are_not_admitted) {
    // Two kinds of comparison: of the fetched row with the keys asked for; and in the memo before the row is admitted,
    // if the memo has changed since the look-up.
    for (const bool the_memos : {false, true}) {
        SCOPED_TRACE(the_memos);
        traits::on_equal = nullptr;
        table.clear();
        use({1});
        books = books_by({2});
        source.during_fetch = [&] {
            if (the_memos) {
                table.erase(table.find(1));
                table.add_row(1, nullptr);
                traits::on_equal = [&] { traits::on_equal = [&] { table.next_generation(); }; };
            } else {
                traits::on_equal = [&] { table.next_generation(); };
            }
        };
        attach_authors(table, source, books);
        EXPECT_EQ(books[0].by.row->pk, 2);
        EXPECT_EQ(table.find(2), mp::no_slot);
    }
}

TEST_F(equality_reentry, links_survive_it_at_every_comparison) {
    watched_links between_books;
    row_source<category> categories = categories_numbered_to(50);
    link_source between;
    for (id one = 1; one <= 20; ++one) {
        between.links.insert(between.links.end(), {{one, one}, {one, one + 1}, {one, one}});
    }
    const auto run = [&](memo_of<category, traits>& rows, std::initializer_list<id> keys) {
        std::vector<book> some = books_numbered(keys);
        attach_categories(between_books, rows, between, categories, some);
        for (const book& one : some) {
            ASSERT_EQ(one.categories.size(), 3U);
            EXPECT_EQ(one.categories[0]->pk, one.pk);
            EXPECT_EQ(one.categories[1]->pk, one.pk + 1);
        }
    };
    for (const bool clears : {false, true}) {
        bool ran = true;
        for (std::uint64_t at = 1; ran; ++at) {
            SCOPED_TRACE(at);
            between_books.clear();
            memo_of<category, traits> rows;
            run(rows, {1, 2, 3});
            std::uint64_t left = at;
            ran = false;
            std::function<void()> countdown = [&] {
                if (--left > 0) {
                    traits::on_equal = countdown;
                    return;
                }
                ran = true;
                if (clears) {
                    between_books.clear();
                    rows.clear();
                } else {
                    run(rows, {4, 5, 6, 7, 8, 9, 10, 3});
                }
            };
            traits::on_equal = countdown;
            run(rows, {2, 3, 4});
            traits::on_equal = nullptr;
            EXPECT_TRUE(between_books.consistent());
            EXPECT_TRUE(rows.consistent());
        }
    }
}
