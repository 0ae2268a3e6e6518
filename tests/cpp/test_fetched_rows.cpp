// What a fetch may return: rows not asked for, rows twice, rows gone stale since, rows with an equal but different key.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

using namespace bookshop;
using queries = std::vector<std::vector<id>>;

TEST(fetched_rows, that_were_not_asked_for_are_dropped) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(2);
    const auto stranger = std::make_shared<const author>(author{50, "stranger", {}, {}, false});
    source.unasked.push_back(stranger);
    std::vector<book> books = books_by({1});
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(memo.find(50), mp::no_slot);
    EXPECT_EQ(stranger.use_count(), 2) << "this test's and the source's";
    EXPECT_EQ(count[0].fetched, 1U);
}

TEST(fetched_rows, that_memory_answered_already_are_dropped) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(2);
    std::vector<book> first = books_by({1});
    attach_authors(memo, source, first);
    source.unasked.push_back(std::make_shared<const author>(author{1, "newer", {}, {}, false}));
    std::vector<book> books = books_by({1, 2});
    attach_authors(memo, source, books);
    EXPECT_EQ(books[0].by.row, first[0].by.row);
}

TEST(fetched_rows, with_one_key_the_first_wins) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(2);
    source.unasked.push_back(std::make_shared<const author>(author{1, "first", {}, {}, false}));
    source.unasked.push_back(std::make_shared<const author>(author{1, "second", {}, {}, false}));
    std::vector<book> books = books_by({1});
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(books[0].by.row->name, "first");
    EXPECT_EQ(memo.handle(memo.find(1))->name, "first");
    EXPECT_EQ(count[0].fetched, 1U);
}

TEST(fetched_rows, that_went_stale_are_fetched_again) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> first = books_by({1, 2, 3});
    attach_authors(memo, source, first);
    first[1].by.row->deleted = true; // the user deleted a shared row
    first[2].by.row->deleted = true;
    source.rows.erase(3); // and this row is gone from the database as well
    std::vector<book> books = books_by({1, 2, 3});
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(source.queries.back(), (std::vector<id>{2, 3}));
    EXPECT_EQ(books[0].by.row, first[0].by.row);
    EXPECT_NE(books[1].by.row, first[1].by.row);
    EXPECT_FALSE(books[1].by.row->deleted);
    EXPECT_EQ(books[2].by.state, attachment::empty);
    EXPECT_TRUE(memo.is_absent(memo.find(3)));
    EXPECT_EQ(memo.size(), 3U);
    EXPECT_EQ(count[0].hits, 1U);
    EXPECT_EQ(count[0].misses, 2U);
    EXPECT_EQ(count[0].evicted, 0U);
    EXPECT_TRUE(memo.consistent());
}

TEST(fetched_rows, that_went_stale_stay_dropped_when_the_chunk_fails) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2});
    attach_authors(memo, source, books);
    const auto stale = books[1].by.row;
    stale->deleted = true;
    source.during_fetch = [] { throw std::runtime_error("no connection"); };
    books = books_by({2, 3});
    EXPECT_THROW(attach_authors(memo, source, books), std::runtime_error);
    EXPECT_EQ(support::keys(memo), std::vector<id>{1});
    EXPECT_EQ(stale.use_count(), 1) << "released";
}

namespace {
/// Text keys that ignore case, as in a case-insensitive column.
struct caseless {
    static std::string folded(std::string text) {
        std::transform(text.begin(), text.end(), text.begin(),
                       [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
        return text;
    }
    static std::uint64_t hash(const std::string& key) { return std::hash<std::string>{}(folded(key)); }
    static bool equal(const std::string& stored, const std::string& asked) { return folded(stored) == folded(asked); }
};
struct airline {
    std::string code;
};
using airline_memo = mp::memo_table<std::string, std::shared_ptr<const airline>, caseless>;
struct airlines {
    std::vector<std::string> codes;
    template <class Asked, class Take>
    void fetch(const Asked&, Take&& take) const {
        for (const std::string& code : codes) {
            take(std::make_shared<const airline>(airline{code}));
        }
    }
    static std::string key_of(const std::shared_ptr<const airline>& row) { return row->code; }
    static bool valid(const std::shared_ptr<const airline>& row, const std::string& key) {
        return caseless::equal(row->code, key);
    }
};
} // namespace

namespace {
struct text_traits {
    static std::uint64_t hash(const char* key) { return std::hash<std::string_view>{}(key); }
    static bool equal(const char* stored, const char* asked) noexcept { return std::strcmp(stored, asked) == 0; }
};
struct literal {
    const char* code;
};
} // namespace

TEST(fetched_rows, are_found_by_keys_that_cannot_be_compared_with_a_default_one) {
    const auto fetch = [](std::span<const char* const> keys) {
        std::vector<literal> rows;
        for (const char* key : keys) {
            rows.push_back({key});
        }
        return rows;
    };
    mp::memo<literal, const char*, text_traits> literals(&literal::code, fetch);
    const std::vector<const char*> keys{"AA", "UA", "AA", "DL"};
    for (int chunk = 0; chunk < 2; ++chunk) {
        const auto rows = literals.resolve(keys);
        for (std::size_t at = 0; at < keys.size(); ++at) {
            ASSERT_NE(rows[at], nullptr);
            EXPECT_STREQ(rows[at]->code, keys[at]);
        }
    }
    EXPECT_EQ(literals.stats().misses, 3U);
}

namespace {
mp::slot_id ask(mp::key_resolution<airline_memo>& rows, std::string key) {
    constexpr std::uint32_t relation = 0;
    mp::slot_id position = mp::no_slot;
    mp::slot_id* const positions[] = {&position};
    rows.ask({&key, 1}, {&relation, 1}, positions);
    return position;
}
} // namespace

TEST(fetched_rows, are_remembered_under_their_own_value_not_the_one_asked_for) {
    airline_memo memo;
    airlines source{{"AA", "ua", "UA"}};
    for (int chunk = 0; chunk < 2; ++chunk) {
        mp::key_resolution<airline_memo> rows(memo);
        EXPECT_EQ(ask(rows, "aa"), 0U);
        EXPECT_EQ(ask(rows, "aA"), 0U);
        EXPECT_EQ(ask(rows, "Ua"), 1U);
        EXPECT_EQ(ask(rows, "zz"), 2U);
        rows.resolve(source);
        EXPECT_EQ(rows.handle(0)->code, "AA");
        EXPECT_EQ(rows.handle(1)->code, "ua");
        EXPECT_FALSE(rows.handle(2));
        mp::counters count;
        rows.commit({&count, 1});
        EXPECT_EQ(count.hits, chunk == 0 ? 0U : 3U);
    }
    EXPECT_EQ(memo.key(memo.find("aa")), "AA");
    EXPECT_EQ(memo.key(memo.find("UA")), "ua");
    EXPECT_EQ(memo.key(memo.find("ZZ")), "zz") << "an absence has no other value than the one asked for";
}
