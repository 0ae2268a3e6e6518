#include "support/shop.hpp"

#include <gtest/gtest.h>

using namespace shop;
using ids = std::vector<id>;
using queries = std::vector<ids>;

TEST(memo, resolve_gives_a_row_per_key_and_null_where_there_is_none) {
    table<author> rows{{1, "Woolf"}, {2, "Joyce"}};
    mp::memo authors{&author::pk, rows.fetch()};
    const auto found = authors.resolve(std::vector<std::optional<id>>{2, {}, 9, 1, 2});
    ASSERT_EQ(5U, found.size());
    EXPECT_EQ("Joyce", found[0]->name);
    EXPECT_EQ(nullptr, found[1]);
    EXPECT_EQ(nullptr, found[2]);
    EXPECT_EQ(found[0], found[4]);
    EXPECT_EQ(found[3], found.handle(3).get());
    EXPECT_EQ(nullptr, found.handle(1));
    EXPECT_EQ((std::vector<const author*>{found[0], nullptr, nullptr, found[3], found[0]}),
              std::vector<const author*>(found.begin(), found.end()));
    EXPECT_EQ((queries{{2, 9, 1}}), rows.queries);
}

TEST(memo, keeps_the_most_recently_used_entries) {
    table<author> rows{{1}, {2}, {3}};
    mp::memo authors{&author::pk, rows.fetch(), {.entries = 2}};
    static_cast<void>(authors.resolve(ids{1, 2}));
    static_cast<void>(authors.resolve(ids{1, 3}));
    rows.queries.clear();
    static_cast<void>(authors.resolve(ids{1}));
    static_cast<void>(authors.resolve(ids{2}));
    EXPECT_EQ((queries{{2}}), rows.queries);
    EXPECT_EQ(2U, authors.stats().size);
    EXPECT_EQ(2U, authors.stats().evicted);
    EXPECT_EQ(1U, authors.stats().fetched_again);
}

TEST(memo, holds_what_a_chunk_needs_also_when_that_is_more) {
    table<author> rows{{1}, {2}, {3}};
    mp::memo authors{&author::pk, rows.fetch(), {.entries = 1}};
    {
        const auto found = authors.resolve(ids{1, 2, 3});
        EXPECT_EQ(3U, authors.stats().size);
        EXPECT_EQ(1, found[0]->pk);
    }
    EXPECT_EQ(1U, authors.stats().size);
}

TEST(memo, bounded_by_bytes_evicts_by_what_rows_weigh) {
    const auto row_bytes = [](const author& row) { return sizeof row + row.name.size(); };
    table<author> rows{{1, std::string(1'000, 'x')}, {2, "y"}, {3, std::string(1'000, 'z')}};
    mp::memo authors{&author::pk, rows.fetch(), {.bytes = 1'500, .size_of = row_bytes}};
    static_cast<void>(authors.resolve(ids{1, 2}));
    EXPECT_EQ(2U, authors.stats().size);
    static_cast<void>(authors.resolve(ids{3}));
    EXPECT_EQ(2U, authors.stats().size);
    rows.queries.clear();
    static_cast<void>(authors.resolve(ids{2, 3, 1}));
    EXPECT_EQ((queries{{1}}), rows.queries);
    EXPECT_MISUSE((mp::memo{&author::pk, rows.fetch(), {.bytes = 100}}), "bounded by bytes needs size_of");
}

TEST(memo, put_all_makes_other_keys_known_missing) {
    table<author> rows{{1}, {2}, {3}};
    mp::memo authors{&author::pk, rows.fetch()};
    static_cast<void>(authors.resolve(ids{9}));
    EXPECT_TRUE(authors.put_all(std::vector<author>{{1, "a"}, {2, "b"}, {1, "c"}}));
    const auto found = authors.resolve(ids{1, 2, 3});
    EXPECT_EQ("a", found[0]->name);
    EXPECT_EQ(nullptr, found[2]);
    EXPECT_EQ(1U, rows.queries.size());
    EXPECT_EQ(2U, authors.stats().size);
    authors.invalidate(1);
    EXPECT_NE(nullptr, authors.resolve(ids{3})[0]) << "no longer all there are";
}

TEST(memo, put_all_of_more_than_fits_keeps_the_first_and_fetches_the_others) {
    table<author> rows{{1}, {2}, {3}};
    mp::memo authors{&author::pk, rows.fetch(), {.entries = 2}};
    EXPECT_FALSE(authors.put_all(std::vector<author>{{1}, {2}, {3}}));
    EXPECT_EQ(2U, authors.stats().size);
    EXPECT_NE(nullptr, authors.resolve(ids{1, 2})[1]);
    EXPECT_TRUE(rows.queries.empty());
    EXPECT_NE(nullptr, authors.resolve(ids{3})[0]);
}

TEST(memo, put_all_passes_its_rows_through_the_prefetcher) {
    bookshop shop;
    shop.book_memo.put_all(std::vector<book>{{100, 1}, {200, 2}});
    EXPECT_EQ("Joyce", shop.book_memo.resolve(ids{200})[0]->author->name);
    EXPECT_EQ((queries{{1, 2}}), shop.author_rows.queries);
    EXPECT_TRUE(shop.book_rows.queries.empty());
}

TEST(memo, forgets_what_is_invalidated_and_cleared) {
    table<author> rows{{1}, {2}};
    mp::memo authors{&author::pk, rows.fetch()};
    const auto kept = authors.resolve(ids{1, 2, 3}).handle(0);
    authors.invalidate(1);
    authors.invalidate(3);
    authors.invalidate(77);
    static_cast<void>(authors.resolve(ids{1, 2, 3}));
    authors.clear();
    EXPECT_EQ(0U, authors.stats().size);
    static_cast<void>(authors.resolve(ids{2}));
    EXPECT_EQ((queries{{1, 2, 3}, {1, 3}, {2}}), rows.queries);
    EXPECT_EQ(1, kept->pk);
}

TEST(memo, links_forget_sources) {
    bookshop shop;
    std::vector<book> chunk{{100, 1}, {200, 1}};
    shop.books.process_chunk(chunk);
    shop.book_categories.invalidate(200);
    shop.books.process_chunk(chunk);
    shop.book_categories.clear();
    shop.books.process_chunk(chunk);
    EXPECT_EQ((queries{{100, 200}, {200}, {100, 200}}), shop.category_links.queries);
    EXPECT_EQ(1U, shop.category_rows.queries.size());
}
