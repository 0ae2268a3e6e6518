// The interface that shared_memo shares with memo, and its use by several threads. Also run under ThreadSanitizer.
#include "support/shop.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

using namespace shop;
using ids = std::vector<id>;
using queries = std::vector<ids>;

namespace {
/// Where threads wait until `count` of them have arrived.
class meeting {
public:
    explicit meeting(int count) : m_missing(count) {}
    void arrive() {
        std::unique_lock lock(m_mutex);
        if (--m_missing == 0) {
            m_all.notify_all();
        }
        m_all.wait(lock, [&] { return m_missing <= 0; });
    }

private:
    std::mutex m_mutex;
    std::condition_variable m_all;
    int m_missing;
};

template <class Body>
void in_threads(int count, Body&& body) {
    std::vector<std::thread> threads;
    for (int number = 0; number < count; ++number) {
        threads.emplace_back([&body, number] { body(number); });
    }
    for (std::thread& one : threads) {
        one.join();
    }
}
auto authors_by_id() {
    return [](std::span<const id> keys) {
        std::vector<author> rows;
        for (const id key : keys) {
            if (key % 10 != 9) {
                rows.push_back({key, std::to_string(key)});
            }
        }
        return rows;
    };
}
} // namespace

TEST(shared_memo, is_used_like_a_memo) {
    table<author> rows{{1, "Woolf"}, {2, "Joyce"}, {3, "Svevo"}};
    mp::shared_memo authors{&author::pk, rows.fetch(), {.entries = 2}};
    link_rows link_table{{{100, 20}}};
    mp::shared_memo categories{&category::pk, [](std::span<const id>) { return std::vector<category>{{20}}; }};
    mp::links book_categories{link_table.fetch(), categories};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author),
                               mp::to_one(authors, &book::translator_id, &book::translator),
                               mp::to_many(book_categories, &book::pk, &book::categories)};
    EXPECT_FALSE(books.thread_safe());
    std::vector<book> chunk{{100, 1, 2}, {200, 3, {}}, {300, 1, 9}};
    books.process_chunk(chunk);
    EXPECT_EQ("Woolf", chunk[2].author->name);
    EXPECT_EQ(chunk[0].author, chunk[2].author);
    EXPECT_EQ(nullptr, chunk[2].translator);
    EXPECT_EQ(20, chunk[0].categories.at(0)->pk);
    EXPECT_EQ(2U, authors.stats().size);
    EXPECT_EQ(4U, authors.stats().misses);
    EXPECT_EQ(2U, authors.stats().evicted);
    rows.queries.clear();
    EXPECT_EQ(nullptr, authors.resolve(ids{9})[0]) << "remembered as missing";
    EXPECT_TRUE(rows.queries.empty());
    authors.invalidate(9);
    EXPECT_EQ(nullptr, authors.resolve(ids{9})[0]);
    EXPECT_EQ((queries{{9}}), rows.queries);
    EXPECT_FALSE(authors.put_all(std::vector<author>{{1}, {2}, {3}}));
    EXPECT_TRUE(authors.put_all(std::vector<author>{{1, "a"}, {2}}));
    EXPECT_EQ(nullptr, authors.resolve(ids{3})[0]);
    EXPECT_EQ("a", authors.resolve(ids{1})[0]->name);
    EXPECT_EQ(1U, rows.queries.size());
    authors.clear();
    EXPECT_EQ(0U, authors.stats().size);
}

TEST(shared_memo, a_callback_may_not_use_the_memo_that_called_it) {
    table<author> rows{{1, "Woolf"}};
    mp::shared_memo authors{&author::pk, rows.fetch()};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author)};
    std::vector<book> chunk{{100, 1}};
    const std::function<void()> uses[] = {
        [&] { static_cast<void>(authors.resolve(ids{1})); },
        [&] { authors.clear(); },
        [&] { authors.invalidate(1); },
        [&] { authors.put_all(std::vector<author>{}); },
        [&] { books.process_chunk(chunk); },
        [&] { static_cast<void>(books.pin_chunk(chunk)); },
    };
    for (const auto& use : uses) {
        rows.before = use;
        EXPECT_MISUSE(books.process_chunk(chunk), "used the memo that called it");
        EXPECT_EQ(0U, authors.stats().size);
    }
    rows.before = [&] { std::thread([&] { authors.clear(); }).join(); };
    books.process_chunk(chunk); // another thread may use it
    EXPECT_EQ("Woolf", chunk[0].author->name);
    EXPECT_EQ(0U, authors.stats().size) << "what was cleared while it was fetched serves this chunk only";
}

TEST(shared_memo, is_as_it_was_when_a_chunk_fails_after_its_rows_were_fetched) {
    table<author> rows{{1}, {2}, {3}};
    mp::shared_memo authors{&author::pk, rows.fetch(), {.entries = 2}};
    mp::shared_memo categories{&category::pk, [](std::span<const id>) { return std::vector<category>{}; }};
    link_rows broken;
    mp::links links{broken.fetch(), categories};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author),
                               mp::to_many(links, &book::pk, &book::categories)};
    static_cast<void>(authors.resolve(ids{1, 2}));
    broken.before = [] { throw std::runtime_error("no connection"); };
    std::vector<book> chunk{{100, 3}, {200, 1}};
    EXPECT_THROW(books.process_chunk(chunk), std::runtime_error);
    EXPECT_EQ(2U, authors.stats().size) << "what was fetched was kept, above the bound";
    EXPECT_EQ(2U, authors.stats().misses);
    rows.queries.clear();
    static_cast<void>(authors.resolve(ids{3}));
    static_cast<void>(authors.resolve(ids{2}));
    EXPECT_EQ((queries{{3}}), rows.queries) << "2 had been used after 1";
}

TEST(shared_memo, keeps_what_others_added_anew_when_a_chunk_fails) {
    // An absence, and a row for which every fetch returns the same handle: their values equal those that the chunk
    // added.
    const std::vector<std::shared_ptr<const author>> all{std::make_shared<const author>(author{1, "Woolf"})};
    queries asked;
    mp::shared_memo<author, id> authors{&author::pk, [&](std::span<const id> keys) {
                                            asked.emplace_back(keys.begin(), keys.end());
                                            return all;
                                        }};
    mp::shared_memo categories{&category::pk, [](std::span<const id>) { return std::vector<category>{}; }};
    link_rows broken;
    mp::links links{broken.fetch(), categories};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author),
                               mp::to_many(links, &book::pk, &book::categories)};
    std::vector<book> chunk{{100, 1}, {200, 9}, {300, 8}};
    const auto fail_after = [&](const std::function<void()>& other) {
        authors.clear();
        broken.before = [&] {
            other();
            throw std::runtime_error("no connection");
        };
        EXPECT_THROW(books.process_chunk(chunk), std::runtime_error);
        asked.clear();
    };

    fail_after([&] {
        authors.invalidate(1);
        authors.invalidate(9);
        static_cast<void>(authors.resolve(ids{1, 9}));
    });
    EXPECT_EQ(2U, authors.stats().size) << "8 was the chunk's own";
    EXPECT_EQ("Woolf", authors.resolve(ids{1, 9})[0]->name);
    EXPECT_EQ(queries{}, asked);

    fail_after([&] { EXPECT_TRUE(authors.put_all(all)); });
    const auto rows = authors.resolve(ids{1});
    ASSERT_NE(nullptr, rows[0]) << "all rows are known, and this one was taken out";
    EXPECT_EQ(queries{}, asked);
}

TEST(shared_memo, of_few_bytes_keeps_as_much_as_fits_its_bound) {
    const auto row_bytes = [](const author&) { return std::size_t{1'000}; };
    mp::shared_memo authors{&author::pk, authors_by_id(), {.bytes = 5'500, .size_of = row_bytes}};
    static_cast<void>(authors.resolve(ids{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(5U, authors.stats().size) << "a row and its entry take less than 1,100 bytes";
}

TEST(shared_memo, of_few_bytes_or_entries_has_few_shards) {
    const auto shards = [](std::optional<std::size_t> entries, std::size_t bytes) {
        const auto row_bytes = [](const author&) { return std::size_t{0}; };
        mp::shared_memo authors{
            &author::pk, authors_by_id(), {.entries = entries, .bytes = bytes, .size_of = row_bytes}};
        return mp::detail::memo_access::table(authors).shards();
    };
    constexpr std::size_t two_mib = 2 << 20;
    EXPECT_EQ(1U, shards({}, 0));
    EXPECT_EQ(1U, shards({}, two_mib - 1));
    EXPECT_EQ(2U, shards({}, two_mib));
    EXPECT_EQ(16U, shards({}, 8 * two_mib));
    EXPECT_EQ(16U, shards({}, mp::unbounded - 1));
    EXPECT_EQ(1U, shards(2'047, mp::unbounded));
    EXPECT_EQ(2U, shards(2'048, mp::unbounded));
    EXPECT_EQ(16U, shards(mp::unbounded, mp::unbounded));
    EXPECT_EQ(1U, shards(100'000, two_mib - 1)) << "the smaller bound counts";
    EXPECT_EQ(1U, shards(2'047, 100 * two_mib));
}

TEST(shared_memo, put_all_of_more_than_fits_keeps_the_first) {
    table<author> rows{{3}};
    const auto row_bytes = [](const author& row) { return row.name.size() * 700'000; };
    // Sixteen shards, each with room for one short name. The long names come first.
    mp::shared_memo authors{&author::pk, rows.fetch(), {.bytes = 16 << 20, .size_of = row_bytes}};
    std::vector<author> all;
    for (id key = 0; key < 64; ++key) {
        all.push_back({key, std::string(key < 32 ? 1'000 : 1, 'x')});
    }
    EXPECT_FALSE(authors.put_all(all));
    const std::size_t kept = authors.stats().size;
    EXPECT_LT(kept, 16U) << "a row took the place of an earlier one that did not fit";
}

TEST(shared_memo, a_row_that_is_invalidated_while_it_is_looked_up_is_fetched) {
    using traits = support::watched_traits<id>;
    table<author> rows{};
    mp::shared_memo<author, id, traits> authors{&author::pk, rows.fetch(), {.entries = 100'000}};
    std::vector<author> all;
    for (id key = 0; key < 64; ++key) {
        all.push_back({key});
        rows.rows[key] = {key};
    }
    EXPECT_TRUE(authors.put_all(all));
    const auto shard = [&](id key) {
        const auto& shards = mp::detail::memo_access::table(authors);
        return shards.shard_of(shards.tag_of(key));
    };
    id last = 1;
    while (shard(last) <= shard(0)) {
        ++last;
    }
    // While the look-up is at 0 and holds the lock of its shard, another thread can lock the shard of `last`.
    traits::on_equal = [&] { std::thread([&] { authors.invalidate(last); }).join(); };
    EXPECT_NE(nullptr, authors.resolve(ids{0, last})[1]) << "all rows were known, but are not any more";
    EXPECT_EQ((queries{{last}}), rows.queries);
}

TEST(shared_memo, nested_prefetchers_lead_to_shared_memos_only) {
    mp::shared_memo authors{&author::pk, authors_by_id()};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author)};
    const auto fetch_books = [](std::span<const id> keys) { return std::vector<book>{{keys[0], keys[0] + 1}}; };
    mp::shared_memo memo{&book::pk, fetch_books, {}, books};
    EXPECT_EQ(8, memo.resolve(ids{7})[0]->author->pk);
    mp::memo own{&author::pk, authors_by_id()};
    mp::prefetcher<book> own_books{mp::to_one(own, &book::author_id, &book::author)};
    EXPECT_THROW((mp::shared_memo{&book::pk, fetch_books, {}, own_books}), std::logic_error);
}

TEST(shared_memo, two_threads_that_miss_one_key_fetch_it_once) {
    meeting both_ask(2);
    std::atomic<int> fetches = 0;
    mp::shared_memo authors{&author::pk, [&](std::span<const id> keys) {
                                ++fetches;
                                // Meanwhile the other thread asks for the same keys.
                                both_ask.arrive();
                                std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                return std::vector<author>{{keys[0], "fetched"}};
                            }};
    std::shared_ptr<const author> found[2];
    in_threads(2, [&](int number) {
        if (number == 1) {
            both_ask.arrive(); // once the first one is in its callback
        }
        found[number] = authors.resolve(ids{1, 2}).handle(0);
    });
    EXPECT_EQ(1, fetches);
    EXPECT_EQ("fetched", found[0]->name);
    EXPECT_EQ(found[0], found[1]);
    EXPECT_EQ(2U, authors.stats().misses);
    EXPECT_EQ(2U, authors.stats().hits);
}

TEST(shared_memo, who_waited_for_a_fetch_that_fails_fetches_again) {
    meeting both_ask(2);
    std::atomic<int> fetches = 0;
    mp::shared_memo authors{&author::pk, [&](std::span<const id>) -> std::vector<author> {
                                if (++fetches == 1) {
                                    both_ask.arrive();
                                    std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                    throw std::runtime_error("no connection");
                                }
                                return {{1, "Woolf"}};
                            }};
    in_threads(2, [&](int number) {
        if (number == 0) {
            EXPECT_THROW(static_cast<void>(authors.resolve(ids{1})), std::runtime_error);
        } else {
            both_ask.arrive();
            EXPECT_EQ("Woolf", authors.resolve(ids{1})[0]->name);
        }
    });
    EXPECT_EQ(2, fetches);
}

TEST(shared_memo, callbacks_of_different_keys_run_at_once) {
    meeting in_callbacks(2); // a lock around them would never let both arrive
    mp::shared_memo authors{&author::pk, [&](std::span<const id> keys) {
                                in_callbacks.arrive();
                                return std::vector<author>{{keys[0], ""}};
                            }};
    in_threads(2, [&](int number) { EXPECT_EQ(number, authors.resolve(ids{number})[0]->pk); });
}

TEST(shared_memo, many_threads_agree) {
    std::atomic<std::size_t> asked = 0;
    mp::shared_memo authors{&author::pk,
                            [&](std::span<const id> keys) {
                                asked += keys.size();
                                return authors_by_id()(keys);
                            },
                            {.entries = 5'000}};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author)};
    EXPECT_TRUE(books.thread_safe());
    constexpr int threads = 4;
    constexpr std::size_t chunks = 60;
    constexpr std::size_t chunk_size = 200;
    in_threads(threads, [&](int number) {
        std::mt19937 random(static_cast<unsigned>(number));
        for (std::size_t round = 0; round < chunks; ++round) {
            std::vector<book> chunk;
            for (std::size_t at = 0; at < chunk_size; ++at) {
                chunk.push_back({0, static_cast<id>(random() % 8'000)});
            }
            books.process_chunk(chunk);
            for (const book& one : chunk) {
                ASSERT_EQ(one.author_id % 10 != 9, one.author != nullptr);
                ASSERT_TRUE(!one.author || one.author->pk == one.author_id);
            }
            if (round % 16 == 15) {
                authors.invalidate(static_cast<id>(random() % 8'000));
            }
            if (round == 40 && number == 0) {
                authors.clear();
            }
        }
    });
    const mp::memo_stats stats = authors.stats();
    EXPECT_LE(stats.size, 5'000U);
    EXPECT_EQ(asked, stats.misses);
    EXPECT_EQ(threads * chunks * chunk_size, stats.requests);
    EXPECT_EQ(stats.misses, stats.fetched + stats.missing);
}

namespace {
/// Calls a function when its last copy goes.
struct with_end {
    id pk = 0;
    std::shared_ptr<void> end;
};
} // namespace

TEST(shared_memo, put_all_holds_no_lock_while_rows_go) {
    mp::shared_memo memo{
        &with_end::pk, [](std::span<const id>) { return std::vector<with_end>{}; }, {.entries = 8'192}};
    std::size_t asked = 0;
    std::vector<with_end> rows;
    for (id key = 0; key < 100; ++key) {
        rows.push_back({key, std::shared_ptr<void>(&memo, [&](void*) { asked += memo.stats().size == 0 ? 1U : 0U; })});
    }
    EXPECT_TRUE(memo.put_all(std::move(rows)));
    EXPECT_EQ(100U, memo.stats().size);
    EXPECT_TRUE(memo.put_all(std::vector<with_end>{}));
    EXPECT_EQ(100U, asked); // with a lock held, this would wait for ever
}
