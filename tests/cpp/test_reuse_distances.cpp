// One pass over the uses tells what a table of any size would have found. Compared with what such tables find.
#include "support/bombing_allocator.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

using namespace memoized_prefetch;
using key = std::int64_t;

namespace {

/// The keys that one pass of a chunk uses, each once, in the order of use.
using pass_keys = std::vector<key>;

/// The simplest table: a list, newest first.
class naive_table {
public:
    explicit naive_table(std::size_t bound) : m_bound(bound) {}

    std::uint64_t found = 0;
    std::set<key> fetched_before;
    std::map<key, int> fetched_again;

    void chunk(const std::vector<pass_keys>& passes) {
        std::set<key> used;
        for (const pass_keys& keys : passes) {
            for (const key one : keys) {
                const bool there = std::find(m_keys.begin(), m_keys.end(), one) != m_keys.end();
                found += there && !used.contains(one) ? 1U : 0U;
                fetched_again[one] += !there && fetched_before.contains(one) ? 1 : 0;
                fetched_before.insert(one);
            }
            for (const key one : keys) {
                to_front(one);
                used.insert(one);
            }
        }
        trim();
    }
    void load(const std::vector<key>& keys) {
        for (const key one : keys) {
            to_front(one);
            fetched_before.insert(one);
        }
        trim();
    }
    void forget(key one) {
        m_keys.remove(one);
        fetched_before.erase(one);
    }
    void forget_all() {
        m_keys.clear();
        fetched_before.clear();
    }

private:
    void to_front(key one) {
        m_keys.remove(one);
        m_keys.push_front(one);
    }
    void trim() {
        while (m_keys.size() > m_bound) {
            m_keys.pop_back();
        }
    }
    std::list<key> m_keys;
    std::size_t m_bound;
};

std::uint32_t tag_of(key one) { return key_index<>::tag_of(static_cast<std::uint64_t>(one)); }

template <class Distances>
std::uint64_t found_by(const Distances& distances, std::size_t size) {
    std::uint64_t sum = 0;
    distances.visit([&](std::uint64_t needed, std::uint64_t uses) { sum += needed <= size ? uses : 0; });
    return sum;
}

template <class Distances>
void use_if_taken(Distances& distances, key one) {
    if (distances.takes(tag_of(one))) {
        distances.use(tag_of(one));
    }
}

/// Distinct keys of a random chunk.
pass_keys some_keys(std::mt19937& random, std::size_t count, key of) {
    pass_keys keys;
    for (std::size_t at = 0; at < count; ++at) {
        const key one = std::uniform_int_distribution<key>(0, of - 1)(random);
        if (std::find(keys.begin(), keys.end(), one) == keys.end()) {
            keys.push_back(one);
        }
    }
    return keys;
}

} // namespace

TEST(reuse_distances, of_random_chunks_are_those_of_naive_tables_of_every_size) {
    std::uint64_t found = 0;
    std::uint64_t not_found = 0;
    for (unsigned seed = 0; seed < 50; ++seed) {
        std::mt19937 random(seed);
        const key all = 1 + static_cast<key>(random() % 60);
        const std::size_t sizes = 64;
        const unsigned forgets = seed % 3 == 0 ? 0 : seed % 7 + 1; // some runs forget nothing, some a lot
        reuse_distances<> distances;
        distances.measure();
        std::vector<naive_table> tables;
        for (std::size_t size = 0; size < sizes; ++size) {
            tables.emplace_back(size);
        }
        for (int step = 0; step < 120; ++step) {
            const auto what = static_cast<unsigned>(random() % 20);
            if (what < forgets) {
                const key one = static_cast<key>(random() % static_cast<unsigned>(all));
                distances.forget(tag_of(one));
                std::for_each(tables.begin(), tables.end(), [&](naive_table& table) { table.forget(one); });
            } else if (what == 18 && seed % 5 == 0) {
                distances.forget_all();
                std::for_each(tables.begin(), tables.end(), [](naive_table& table) { table.forget_all(); });
            } else if (what == 19 && seed % 2 == 0) {
                const pass_keys keys = some_keys(random, random() % 30, all);
                for (const key one : keys) {
                    distances.load(tag_of(one));
                }
                distances.end_chunk();
                std::for_each(tables.begin(), tables.end(), [&](naive_table& table) { table.load(keys); });
            } else {
                std::vector<pass_keys> passes(1 + random() % 3);
                for (pass_keys& keys : passes) {
                    keys = some_keys(random, random() % 40, all);
                    for (const key one : keys) {
                        distances.use(tag_of(one));
                    }
                }
                distances.end_chunk();
                std::for_each(tables.begin(), tables.end(), [&](naive_table& table) { table.chunk(passes); });
            }
            ASSERT_TRUE(distances.consistent()) << "seed " << seed << " step " << step;
            for (std::size_t size = 0; size < sizes; ++size) {
                ASSERT_EQ(found_by(distances, size), tables[size].found)
                    << "size " << size << " seed " << seed << " step " << step;
            }
        }
        EXPECT_TRUE(distances.exact());
        found += tables[10].found;
        not_found += tables[60].found - tables[10].found;
    }
    EXPECT_GT(found, 1'000U);
    EXPECT_GT(not_found, 10'000U) << "sizes must matter";
}

TEST(reuse_distances, of_forgotten_keys_within_a_chunk_leave_room_for_others) {
    reuse_distances<> distances;
    distances.measure();
    for (const key one : {1, 2, 3}) {
        distances.use(tag_of(one));
    }
    distances.end_chunk();
    distances.forget(tag_of(2)); // 3 - 1
    distances.use(tag_of(4));    // 4 3 1: a table of three evicts nothing
    distances.end_chunk();
    distances.use(tag_of(1));
    EXPECT_EQ(found_by(distances, 2), 0U);
    EXPECT_EQ(found_by(distances, 3), 1U);
}

namespace {

using key_memo = memo_table<key, key>;

struct rows_at_hand {
    static void fetch(const std::vector<key>& asked, auto&& take) {
        for (const key one : asked) {
            take(one);
        }
    }
    static key key_of(key one) { return one; }
    static bool valid(key, key) { return true; }
};
struct keys_of_chunk {
    std::span<const key> keys;
    [[nodiscard]] std::size_t size() const { return keys.size(); }
    [[nodiscard]] static std::size_t width() { return 1; }
    void read(std::size_t i, std::span<key_reading<key>> out) const { out[0] = {key_state::present, keys[i]}; }
    static void attach(std::size_t, std::span<const key* const>) {}
};

struct measuring_memo : key_memo {
    explicit measuring_memo(std::size_t bound) : key_memo(bound) { measure_distances(); }
};

std::uint64_t run(key_memo& table, const std::vector<key>& stream, std::size_t chunk_size) {
    counters count;
    rows_at_hand source;
    for (std::size_t at = 0; at < stream.size(); at += chunk_size) {
        keys_of_chunk objects{std::span(stream).subspan(at, std::min(chunk_size, stream.size() - at))};
        to_one_pass<key_memo> pass(table);
        pass.collect(objects);
        pass.resolve(source);
        pass.commit({&count, 1});
    }
    return count.misses;
}

/// The fetches of a table of another size, predicted from a run with this one.
std::uint64_t predicted(const key_memo& table, std::size_t size) {
    const std::uint64_t now = found_by(table.distances(), table.bound());
    return table.fetched() + now - found_by(table.distances(), size);
}

std::vector<key> zipf(std::size_t distinct, std::size_t length, double exponent, unsigned seed) {
    std::vector<double> upto;
    double sum = 0;
    for (std::size_t rank = 1; rank <= distinct; ++rank) {
        upto.push_back(sum += 1.0 / std::pow(static_cast<double>(rank), exponent));
    }
    std::vector<key> names(distinct);
    for (std::size_t at = 0; at < distinct; ++at) {
        names[at] = static_cast<key>(at + 1);
    }
    std::mt19937 random(seed);
    std::shuffle(names.begin(), names.end(), random);
    std::uniform_real_distribution<double> part(0, sum);
    std::vector<key> stream(length);
    for (key& one : stream) {
        const auto at = std::lower_bound(upto.begin(), upto.end(), part(random)) - upto.begin();
        one = names[std::min(static_cast<std::size_t>(at), distinct - 1)];
    }
    return stream;
}

std::vector<key> loop(std::size_t distinct, std::size_t length) {
    std::vector<key> stream(length);
    for (std::size_t at = 0; at < length; ++at) {
        stream[at] = static_cast<key>(at % distinct);
    }
    return stream;
}

} // namespace

TEST(reuse_distances, of_a_memo_tell_what_runs_at_other_sizes_fetch) {
    for (const std::size_t chunk_size : {1U, 7U, 100U, 1'000U}) {
        for (const std::size_t bound : {10U, 100U, 300U}) {
            const std::vector<key> stream = zipf(900, 20'000, 0.9, 1);
            measuring_memo table(bound);
            const std::uint64_t fetched = run(table, stream, chunk_size);
            EXPECT_EQ(table.fetched(), fetched);
            EXPECT_TRUE(table.distances().exact());
            std::set<key> distinct(stream.begin(), stream.end());
            EXPECT_EQ(table.distances().fetched_again(), fetched - distinct.size());
            for (const std::size_t size : {1U, 5U, 50U, 99U, 100U, 101U, 200U, 600U, 2'000U}) {
                measuring_memo other(size);
                EXPECT_EQ(predicted(table, size), run(other, stream, chunk_size))
                    << "chunks of " << chunk_size << ", a run at " << bound << " asked about " << size;
            }
        }
    }
}

TEST(reuse_distances, count_the_keys_that_were_fetched_twice) {
    measuring_memo table(2);
    run(table, {1, 2, 3, 4, 1, 2, 1, 2, 3, 4, 1, 9}, 2); // 1 2 | 3 4 | 1 2 | 1 2 | 3 4 | 1 9
    EXPECT_EQ(table.fetched(), 10U);
    EXPECT_EQ(table.distances().fetched_again(), 5U);
    EXPECT_EQ(table.distances().fetched_twice(), 4U);
    EXPECT_EQ(table.largest(), 2U);
}

TEST(reuse_distances, are_not_measured_unless_told_but_what_was_fetched_again_is_known) {
    for (const std::size_t bound : {10U, 300U}) {
        const std::vector<key> stream = zipf(900, 20'000, 0.9, 1);
        const std::set<key> distinct(stream.begin(), stream.end());
        key_memo table(bound);
        const std::uint64_t fetched = run(table, stream, 100);
        EXPECT_EQ(table.distances().fetched_again(), fetched - distinct.size());
        EXPECT_TRUE(table.distances().exact());
        EXPECT_EQ(found_by(table.distances(), 2'000), 0U);
        EXPECT_TRUE(table.consistent());
    }
    const std::vector<key> stream = zipf(20'000, 200'000, 0.9, 1);
    const std::set<key> distinct(stream.begin(), stream.end());
    key_memo table(1'000);
    const auto again = static_cast<double>(run(table, stream, 500) - distinct.size());
    EXPECT_FALSE(table.distances().exact());
    EXPECT_NEAR(static_cast<double>(table.distances().fetched_again()), again, 0.2 * again);
    EXPECT_TRUE(table.consistent());
}

TEST(reuse_distances, of_what_was_declared_out_of_date_are_not_those_of_evicted_keys) {
    measuring_memo table(10);
    run(table, {1, 2, 3}, 3);
    table.forget(table.find(1));
    table.forget_key(2);
    table.clear();
    run(table, {1, 2, 3, 4}, 4);
    EXPECT_EQ(table.fetched(), 7U);
    EXPECT_EQ(table.distances().fetched_again(), 0U);
    EXPECT_EQ(found_by(table.distances(), 1'000), 0U);
    table.set_bound(1);
    table.trim();
    table.forget_key(1); // evicted
    run(table, {1, 2}, 2);
    EXPECT_EQ(table.distances().fetched_again(), 1U) << "2 was";
}

TEST(reuse_distances, of_large_tables_are_estimates_near_what_runs_at_other_sizes_fetch) {
    struct stream_of {
        const char* name;
        std::vector<key> keys;
        std::size_t bound;
    };
    const stream_of streams[] = {
        {"Zipf 1.0 over 50,000", zipf(50'000, 400'000, 1.0, 1), 5'000},
        {"Zipf 0.7 over 50,000", zipf(50'000, 400'000, 0.7, 2), 10'000},
        {"uniform over 20,000", zipf(20'000, 400'000, 0.0, 3), 10'000},
        {"uniform over 200,000", zipf(200'000, 600'000, 0.0, 4), 10'000},
        {"a loop over 30,000", loop(30'000, 300'000), 20'000},
    };
    for (const stream_of& one : streams) {
        measuring_memo table(one.bound);
        run(table, one.keys, 2'000);
        EXPECT_FALSE(table.distances().exact());
        EXPECT_TRUE(table.distances().consistent());
        const std::set<key> distinct(one.keys.begin(), one.keys.end());
        const auto again = static_cast<double>(table.fetched() - distinct.size());
        EXPECT_NEAR(static_cast<double>(table.distances().fetched_again()), again,
                    0.05 * static_cast<double>(table.fetched()))
            << one.name;
        for (const std::size_t size : {one.bound / 2, one.bound, one.bound * 2}) {
            measuring_memo other(size);
            const auto fetched = static_cast<double>(run(other, one.keys, 2'000));
            const auto estimate = static_cast<double>(predicted(table, size));
            RecordProperty(std::string(one.name) + " at " + std::to_string(size), std::to_string(estimate / fetched));
            EXPECT_NEAR(estimate, fetched, 0.05 * fetched) << one.name << " at " << size;
        }
        EXPECT_LT(table.distances().bytes(), 450'000U);
    }
}

TEST(reuse_distances, take_no_more_memory_for_more_keys) {
    reuse_distances<> distances;
    distances.measure();
    key next = 0;
    std::size_t at_first = 0;
    for (int chunk = 0; chunk < 1'500; ++chunk) {
        for (int use = 0; use < 2'000; ++use) {
            use_if_taken(distances, next++);
        }
        distances.end_chunk();
        at_first = chunk == 100 ? distances.bytes() : at_first;
    }
    EXPECT_TRUE(distances.consistent());
    EXPECT_EQ(distances.bytes(), at_first);
    EXPECT_EQ(found_by(distances, 10'000'000), 0U);
}

TEST(reuse_distances, of_keys_that_are_forgotten_all_the_time_stay_consistent_when_fewer_are_taken) {
    std::mt19937 random(5);
    reuse_distances<> distances;
    distances.measure();
    for (int chunk = 0; chunk < 400; ++chunk) {
        for (const key one : some_keys(random, 300, 40'000)) {
            use_if_taken(distances, one);
        }
        for (const key one : some_keys(random, 100, 40'000)) {
            distances.forget(tag_of(one));
        }
        if (chunk % 3 != 0) {
            distances.end_chunk();
        }
        ASSERT_TRUE(distances.consistent()) << chunk;
    }
    EXPECT_FALSE(distances.exact());
}

TEST(reuse_distances, do_without_memory_when_there_is_none) {
    using support::allocations;
    std::uint64_t failures = 0;
    for (std::uint64_t nth = 1; nth < 60; ++nth) {
        reuse_distances<support::bombing_allocator<std::byte>> distances;
        bool tripped = false;
        {
            const allocations::armed bomb(nth);
            for (key one = 0; one < 500; ++one) {
                use_if_taken(distances, one);
            }
            tripped = allocations::armed::tripped();
        }
        EXPECT_TRUE(distances.consistent()) << "allocation " << nth;
        EXPECT_EQ(distances.exact(), !tripped) << "allocation " << nth;
        failures += tripped ? 1U : 0U;
    }
    EXPECT_GT(failures, 20U) << "without a failure the test is vacuous";
}
