/// The bookshop as a user's program sees it: plain structs, callbacks that read a table, and what they were asked.
#pragma once

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// Expects a broken rule of the library: an exception or, without exceptions, the end of the process, with the message.
#if defined(__cpp_exceptions)
#define EXPECT_MISUSE(statement, words)                                                                                \
    try {                                                                                                              \
        statement;                                                                                                     \
        ADD_FAILURE() << "nothing was thrown";                                                                         \
    } catch (const std::logic_error& error) {                                                                          \
        EXPECT_NE(std::string::npos, std::string(error.what()).find(words)) << error.what();                           \
    }
#else
#define EXPECT_MISUSE(statement, words) EXPECT_DEATH(statement, words)
#endif

namespace shop {

namespace mp = memoized_prefetch;
using id = std::int64_t;

struct author {
    id pk = 0;
    std::string name = {};
};
struct category {
    id pk = 0;
};
struct book {
    id pk = 0;
    id author_id = 0;
    std::optional<id> translator_id = {};
    std::shared_ptr<const shop::author> author = {};
    std::shared_ptr<const shop::author> translator = {};
    std::vector<std::shared_ptr<const category>> categories = {};
};
struct review {
    id pk = 0;
    id book_id = 0;
    std::shared_ptr<const shop::book> book = {};
};

/// A table of the database. `fetch()` returns a callback, which records what it was asked and can run code before it
/// answers.
template <class Row>
struct table {
    std::map<id, Row> rows = {};
    std::vector<std::vector<id>> queries = {};
    std::function<void()> before = {};

    table(std::initializer_list<Row> all) {
        for (const Row& row : all) {
            rows.emplace(row.pk, row);
        }
    }
    auto fetch() {
        return [this](std::span<const id> keys) {
            queries.emplace_back(keys.begin(), keys.end());
            if (before) {
                before();
            }
            std::vector<Row> found;
            for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
                if (const auto row = rows.find(*key); row != rows.end()) {
                    found.push_back(row->second);
                }
            }
            return found;
        };
    }
};

/// The table between books and categories.
struct link_rows {
    std::vector<std::pair<id, id>> rows = {};
    std::vector<std::vector<id>> queries = {};
    std::function<void()> before = {};

    auto fetch() {
        return [this](std::span<const id> keys) {
            queries.emplace_back(keys.begin(), keys.end());
            if (before) {
                before();
            }
            std::vector<std::pair<id, id>> found;
            for (const auto& link : rows) {
                for (const id key : keys) {
                    if (link.first == key) {
                        found.push_back(link);
                    }
                }
            }
            return found;
        };
    }
};

/// All tables, memos and prefetchers, connected.
struct bookshop {
    table<author> author_rows{{1, "Woolf"}, {2, "Joyce"}, {3, "Svevo"}};
    table<category> category_rows{{10}, {20}, {30}};
    table<book> book_rows{{100, 1, 2}, {200, 2, {}}, {300, 4, 3}};
    link_rows category_links{{{100, 20}, {100, 10}, {100, 20}, {300, 40}}};

    mp::memo<author, id> authors{&author::pk, author_rows.fetch()};
    mp::memo<category, id> categories{&category::pk, category_rows.fetch()};
    mp::links<id, mp::memo<category, id>> book_categories{category_links.fetch(), categories};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author),
                               mp::to_one(authors, &book::translator_id, &book::translator),
                               mp::to_many(book_categories, &book::pk, &book::categories)};
    mp::memo<book, id> book_memo{&book::pk, book_rows.fetch(), {}, books};
    mp::prefetcher<review> reviews{mp::to_one(book_memo, &review::book_id, &review::book)};
};

} // namespace shop
