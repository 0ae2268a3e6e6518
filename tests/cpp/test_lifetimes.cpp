// Who keeps what alive, and what is refused. The rules that the compiler checks are in tests/cpp/refused.cpp.
#include "support/shop.hpp"

#include <gtest/gtest.h>

#include <type_traits>

using namespace shop;
using ids = std::vector<id>;

namespace {
struct raw_book {
    id pk = 0;
    id author_id = 0;
    const shop::author* author = nullptr;
    std::vector<const category*> categories = {};
};

template <class Memo>
concept copies_or_moves = std::is_copy_constructible_v<Memo> || std::is_move_constructible_v<Memo> ||
    std::is_copy_assignable_v<Memo> || std::is_move_assignable_v<Memo>;
using author_memo = mp::memo<author, id>;
using category_links = mp::links<id, mp::memo<category, id>>;
using shared_author_memo = mp::shared_memo<author, id>;
static_assert(!copies_or_moves<author_memo> && !copies_or_moves<shared_author_memo> &&
              !copies_or_moves<category_links> && !copies_or_moves<mp::prefetcher<book>> &&
              !copies_or_moves<mp::pinned_rows<author_memo>>);
// A pinned chunk can be moved, but not copied.
static_assert(std::is_move_constructible_v<mp::pinned_chunk<book>> &&
              !std::is_copy_constructible_v<mp::pinned_chunk<book>> &&
              !std::is_move_assignable_v<mp::pinned_chunk<book>>);
// Shared rows cannot be changed.
using resolved_authors = mp::pinned_rows<author_memo>;
static_assert(std::same_as<const author*, decltype(std::declval<const resolved_authors&>()[0])> &&
              std::same_as<std::shared_ptr<const author>, decltype(std::declval<const resolved_authors&>().handle(0))>);
} // namespace

TEST(lifetimes, a_handle_outlives_eviction_and_memo) {
    std::vector<book> chunk{{100, 1, 2}};
    {
        bookshop shop;
        shop.books.process_chunk(chunk);
        shop.authors.clear();
    }
    EXPECT_EQ("Woolf", chunk[0].author->name);
    EXPECT_EQ(1, chunk[0].author.use_count()) << "nobody else keeps it";
}

TEST(lifetimes, raw_pointers_are_valid_while_the_chunk_is_pinned) {
    bookshop shop;
    mp::memo authors{&author::pk, shop.author_rows.fetch(), {.entries = 1}};
    mp::prefetcher<raw_book, mp::raw_pointers> books{
        mp::to_one(authors, &raw_book::author_id, &raw_book::author),
        mp::to_many(shop.book_categories, &raw_book::pk, &raw_book::categories)};
    std::vector<raw_book> chunk{{100, 1}, {200, 2}, {300, 3}};
    {
        auto pinned = books.pin_chunk(chunk);
        authors.clear(); // forgets them, but the pinned rows live
        EXPECT_EQ("Woolf", chunk[0].author->name);
        EXPECT_EQ("Svevo", chunk[2].author->name);
        EXPECT_EQ(10, chunk[0].categories[1]->pk);
        const auto moved = std::move(pinned);
        static_cast<void>(authors.resolve(ids{1}));
        EXPECT_EQ("Joyce", chunk[1].author->name);
    }
    EXPECT_EQ(1U, authors.stats().size);
}

TEST(lifetimes, rows_are_released_when_nobody_has_them) {
    bookshop shop;
    std::weak_ptr<const author> watched;
    {
        std::vector<book> chunk{{100, 1}};
        shop.books.process_chunk(chunk);
        watched = chunk[0].author;
        shop.authors.invalidate(1);
        EXPECT_FALSE(watched.expired());
    }
    EXPECT_TRUE(watched.expired());
}

TEST(lifetimes, a_callback_may_not_use_the_memo_that_called_it) {
    bookshop shop;
    std::vector<book> chunk{{100, 1}};
    const std::function<void()> uses[] = {
        [&] { static_cast<void>(shop.authors.resolve(ids{1})); },
        [&] { shop.authors.clear(); },
        [&] { shop.authors.invalidate(1); },
        [&] { shop.authors.put_all(std::vector<author>{}); },
        [&] { shop.books.process_chunk(chunk); },
        [&] { static_cast<void>(shop.books.pin_chunk(chunk)); },
    };
    for (const auto& use : uses) {
        shop.author_rows.before = use;
        EXPECT_MISUSE(shop.books.process_chunk(chunk), "used the memo that called it");
        EXPECT_EQ(0U, shop.authors.stats().size);
    }
    shop.author_rows.before = nullptr;
    const std::function<void()> uses_of_links[] = {
        [&] { shop.book_categories.clear(); },
        [&] { shop.book_categories.invalidate(1); },
        [&] { shop.books.process_chunk(chunk); },
    };
    for (const auto& use : uses_of_links) {
        shop.category_links.before = use;
        EXPECT_MISUSE(shop.books.process_chunk(chunk), "used the links that called it");
    }
    shop.category_links.before = [&] { shop.author_rows.fetch(); };
    shop.books.process_chunk(chunk); // other memos may be used
    EXPECT_EQ("Woolf", chunk[0].author->name);
}

TEST(lifetimes, a_memo_that_leads_back_to_itself_is_detected) {
    struct part {
        id pk = 0;
        id whole_id = 0;
        std::shared_ptr<const part> whole = {};
    };
    mp::memo<part, id>* itself = nullptr;
    mp::memo<part, id> last{&part::pk, [&](std::span<const id> keys) {
                                static_cast<void>(itself->resolve(keys));
                                return std::vector<part>{};
                            }};
    mp::prefetcher<part> parts{mp::to_one(last, &part::whole_id, &part::whole)};
    mp::memo<part, id> memo{&part::pk,
                            [](std::span<const id> keys) {
                                return std::vector<part>{{keys[0], 1}};
                            },
                            {},
                            parts};
    itself = &memo;
    EXPECT_MISUSE(static_cast<void>(memo.resolve(ids{5})), "used the memo that called it");
    EXPECT_EQ(0U, memo.stats().size);
    EXPECT_EQ(0U, last.stats().size);
}

TEST(lifetimes, a_memo_must_outlive_its_pins) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            auto memo = std::make_unique<author_memo>(&author::pk, [](std::span<const id>) {
                return std::vector<author>{{1, ""}};
            });
            const auto pinned = memo->resolve(ids{1});
            memo.reset();
        },
        "a memo was destroyed while rows of it were pinned");
}

TEST(lifetimes, links_must_outlive_their_pins) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            bookshop shop;
            auto links = std::make_unique<category_links>(shop.category_links.fetch(), shop.categories);
            mp::prefetcher<book> books{mp::to_many(*links, &book::pk, &book::categories)};
            std::vector<book> chunk(1);
            const auto pinned = books.pin_chunk(chunk);
            links.reset();
        },
        "links were destroyed while some of them were pinned");
}
