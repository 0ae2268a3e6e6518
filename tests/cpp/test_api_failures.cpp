// In every operation of the library's own API, each allocation and each user callback fails once, in turn. Afterwards
// contents, order, pins and counters are unchanged, no row is left over, and repeating the operation succeeds.
#include "support/failing_new.hpp"
#include "support/table_contents.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <gtest/gtest.h>

#include <list>
#include <string>
#include <tuple>

using support::user_calls;

namespace {
namespace mp = memoized_prefetch;
using id = std::int64_t;
using keys = std::vector<std::optional<id>>;

struct counted {
    inline static int alive = 0;
    counted() noexcept { ++alive; }
    counted(const counted&) noexcept { ++alive; }
    counted& operator=(const counted&) noexcept = default;
    ~counted() { --alive; }
};
struct author {
    id pk = 0;
    std::string name = {};
    counted count = {};
};
struct category {
    id pk = 0;
    counted count = {};
};
struct book {
    id pk = 0;
    id author_id = 0;
    std::optional<id> translator_id = {};
    std::shared_ptr<const ::author> author = {};
    std::shared_ptr<const ::author> translator = {};
    std::vector<std::shared_ptr<const category>> categories = {};
    counted count = {};
};
struct raw_book {
    id pk = 0;
    id author_id = 0;
    const ::author* author = nullptr;
    std::vector<const category*> categories = {};
};
struct review {
    id pk = 0;
    id book_id = 0;
    std::shared_ptr<const book> reviewed = {};
};

/// Returns a callback that first makes a step, which may throw, and then calls `then`.
template <class Then>
auto step_then(Then then) {
    return [then](const auto& argument) {
        user_calls::step();
        return then(argument);
    };
}

/// A used bookshop, so that there is something to lose: all tables are full, and the next operation evicts.
template <template <class, class, class> class Memo>
struct shop {
    template <class Row>
    using memo_of = Memo<Row, id, mp::key_traits<id>>;
    static constexpr bool shared = memo_of<author>::thread_safe;

    memo_of<author> authors{step_then([](const author& row) { return row.pk; }), fetch_authors, {.entries = 4}};
    memo_of<category> categories{step_then([](const category& row) { return row.pk; }),
                                 fetch_categories,
                                 {.bytes = 500, .size_of = step_then([](const category& row) {
                                                    return static_cast<std::size_t>(row.pk % 10);
                                                })}};
    mp::links<id, memo_of<category>> book_categories{fetch_links, categories, {3}};
    mp::prefetcher<book> books{
        mp::to_one(authors, step_then([](const book& one) { return one.author_id; }), &book::author),
        mp::to_many(book_categories, step_then([](const book& one) { return one.pk; }), &book::categories),
        mp::to_one(authors, &book::translator_id, [](book& one, const std::shared_ptr<const author>& row) {
            user_calls::step();
            one.translator = row;
        })};
    mp::prefetcher<book> people{mp::to_one(authors, &book::author_id, &book::author)};
    mp::prefetcher<raw_book, mp::raw_pointers> raw{mp::to_one(authors, &raw_book::author_id, &raw_book::author),
                                                   mp::to_many(book_categories, &raw_book::pk, &raw_book::categories)};
    memo_of<book> stock{&book::pk, fetch_books, {.entries = 3}, shared ? people : books};
    mp::prefetcher<review> reviews{mp::to_one(stock, &review::book_id, &review::reviewed)};

    shop() {
        std::vector<book> chunk{{1, 1, 2}, {2, 3, 99}, {3, 5, {}}, {4, 7, 1}};
        books.process_chunk(chunk);
        std::vector<review> more{{1, 1}, {2, 2}, {3, 99}};
        reviews.process_chunk(more);
    }

    static std::vector<author> fetch_authors(std::span<const id> asked) {
        user_calls::step();
        std::vector<author> rows;
        for (const id key : asked) {
            if (key < 50) {
                rows.push_back({key, "a name that is too long to be stored within the string"});
            }
        }
        return rows;
    }
    static std::list<std::shared_ptr<const category>> fetch_categories(std::span<const id> asked) {
        user_calls::step();
        std::list<std::shared_ptr<const category>> rows;
        for (const id key : asked) {
            rows.push_back(std::make_shared<category>(category{key}));
        }
        return rows;
    }
    static std::vector<std::pair<id, id>> fetch_links(std::span<const id> asked) {
        user_calls::step();
        std::vector<std::pair<id, id>> links;
        for (const id key : asked) {
            for (id target = 0; target < key % 4; ++target) {
                links.emplace_back(key, key * 10 + target);
            }
        }
        return links;
    }
    static std::vector<std::unique_ptr<book>> fetch_books(std::span<const id> asked) {
        user_calls::step();
        std::vector<std::unique_ptr<book>> rows;
        for (const id key : asked) {
            if (key < 50) {
                rows.push_back(std::make_unique<book>(book{key, key + 1}));
            }
        }
        return rows;
    }

    template <class Table>
    static auto contents(Table& table) {
        auto& entries = mp::detail::memo_access::table(table);
        if constexpr (requires { entries.shards(); }) {
            std::vector<decltype(support::contents(entries[0].table))> shards;
            for (std::size_t at = 0; at < entries.shards(); ++at) {
                EXPECT_TRUE(entries[at].flying.empty()) << "a key is in flight for ever";
                shards.push_back(support::contents(entries[at].table));
            }
            return shards;
        } else {
            return std::vector{support::contents(entries)};
        }
    }
    /// All but queries, which were sent even if they failed.
    static auto numbers(const mp::counters& one) {
        return std::vector{one.requests, one.hits, one.misses, one.fetched, one.missing, one.evicted};
    }
    template <class Table>
    static auto state(Table& table) {
        const mp::memo_stats stats = table.stats();
        return std::tuple(contents(table), numbers(stats), stats.size, stats.largest, stats.fetched_again);
    }
    template <class Prefetcher>
    static auto counts(const Prefetcher& one) {
        std::vector<std::vector<std::uint64_t>> result;
        for (const mp::counters& relation : one.stats()) {
            result.push_back(numbers(relation));
        }
        return result;
    }
    /// Rows below these are fetched by separate chunks, whose effects stay if the chunk above fails later.
    auto state_of_rows() { return std::tuple(state(stock), counts(reviews)); }
    auto state_below() {
        return std::tuple(state(authors), state(categories), state(book_categories), counts(books), counts(people),
                          counts(raw));
    }
};

template <template <class, class, class> class Memo>
struct operation {
    const char* name;
    std::function<void(shop<Memo>&)> run;
    bool with_rows_below = false;
};
template <template <class, class, class> class Memo>
std::vector<operation<Memo>> operations() {
    using one_shop = shop<Memo>;
    return {
        {"process_chunk",
         [](one_shop& one) {
             std::vector<book> chunk{{5, 1, 8}, {6, 9, 99}, {7, 10, {}}, {1, 98, 3}};
             one.books.process_chunk(chunk);
             EXPECT_EQ(9, chunk[1].author->pk);
             EXPECT_EQ(3U, chunk[2].categories.size());
             EXPECT_EQ(nullptr, chunk[3].author);
         }},
        {"process_chunk of pointers",
         [](one_shop& one) {
             book first{5, 1};
             std::list<book*> chunk{&first};
             one.books.process_chunk(chunk);
             EXPECT_EQ(1, first.author->pk);
         }},
        {"pin_chunk",
         [](one_shop& one) {
             std::vector<raw_book> chunk{{5, 20}, {6, 1}};
             const auto pinned = one.raw.pin_chunk(chunk);
             EXPECT_EQ(20, chunk[0].author->pk);
             EXPECT_EQ(60, chunk[1].categories.at(0)->pk);
         }},
        {"process_chunk of rows that have relations",
         [](one_shop& one) {
             std::vector<review> chunk{{1, 1}, {2, 11}, {3, 98}, {4, 12}};
             one.reviews.process_chunk(chunk);
             EXPECT_EQ(13, chunk[3].reviewed->author->pk);
             EXPECT_EQ(nullptr, chunk[2].reviewed);
         },
         true},
        {"resolve",
         [](one_shop& one) {
             keys asked{1, {}, 30, 97};
             asked.resize(100, 98); // more places here, and more keys below, than the memo has room for so far
             for (id more = 100; more < 150; ++more) {
                 asked.push_back(more);
             }
             const auto rows = one.authors.resolve(asked);
             EXPECT_EQ(30, rows[2]->pk);
             EXPECT_EQ(nullptr, rows[3]);
         }},
        {"resolve of what is bounded by bytes",
         [](one_shop& one) {
             EXPECT_EQ(77, one.categories.resolve(keys{10, 77, 78})[1]->pk);
         }},
        {"put_all",
         [](one_shop& one) {
             EXPECT_TRUE(one.authors.put_all(std::vector<author>{{1, "one"}, {40, "forty"}, {1, "two"}}));
         }},
        {"put_all of rows that have relations",
         [](one_shop& one) {
             EXPECT_FALSE(one.stock.put_all(std::vector<book>{{31, 32}, {32, 33}, {33, 34}, {34, 35}}));
         },
         true},
    };
}

/// Makes each step fail, in turn. Some failures are handled and not reported: statistics cope with less memory.
template <class Tripwire, class Exception, template <class, class, class> class Memo>
void fail_each(std::uint64_t fewest) {
    for (const operation<Memo>& one : operations<Memo>()) {
        SCOPED_TRACE(one.name);
        std::uint64_t failures = 0;
        for (std::uint64_t nth = 1;; ++nth) {
            {
                shop<Memo> shop;
                const int alive = counted::alive;
                const auto rows_before = shop.state_of_rows();
                const auto below_before = shop.state_below();
                bool failed = false;
                bool tripped = false;
                try {
                    const typename Tripwire::armed bomb(nth);
                    struct at_end {
                        bool& tripped;
                        ~at_end() { tripped = Tripwire::armed::tripped(); }
                    } const told{tripped};
                    one.run(shop);
                } catch (const Exception&) {
                    failed = true;
                }
                if (!tripped) {
                    break;
                }
                if (failed) {
                    ++failures;
                    ASSERT_EQ(rows_before, shop.state_of_rows()) << "step " << nth;
                    if (!one.with_rows_below) {
                        ASSERT_EQ(below_before, shop.state_below()) << "step " << nth;
                        ASSERT_EQ(alive, counted::alive) << "step " << nth;
                    }
                }
                one.run(shop);
            }
            ASSERT_EQ(0, counted::alive) << "step " << nth;
        }
        EXPECT_GE(failures, fewest) << "without a failure the test is vacuous";
    }
}
} // namespace

TEST(api_failures, of_allocations_leave_memos_as_they_were) {
    fail_each<support::all_allocations, std::bad_alloc, mp::memo>(10);
}
TEST(api_failures, of_allocations_leave_shared_memos_as_they_were) {
    fail_each<support::all_allocations, std::bad_alloc, mp::shared_memo>(10);
}
TEST(api_failures, of_calls_leave_memos_as_they_were) { fail_each<user_calls, support::broken_call, mp::memo>(2); }
TEST(api_failures, of_calls_leave_shared_memos_as_they_were) {
    fail_each<user_calls, support::broken_call, mp::shared_memo>(2);
}
