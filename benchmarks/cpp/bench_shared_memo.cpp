// Several threads resolve chunks in one memo: a shared_memo, compared with the obvious alternative, a memo behind a
// mutex. `hits`: all rows are remembered, so that only the memo works. `fetches`: one key in ten is not remembered, and
// the database takes a millisecond per call, during which another thread may run. Reports keys per second of all
// threads together; the ratio of two threads to one is the scaling.
#include <benchmark/benchmark.h>
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <vector>

namespace {
namespace mp = memoized_prefetch;
using key = std::int64_t;
constexpr std::size_t chunk_size = 2'000;
constexpr std::size_t entries = 100'000;

struct row {
    key id;
};
std::vector<row> rows_of(std::span<const key> asked) {
    std::vector<row> rows;
    for (const key one : asked) {
        rows.push_back({one});
    }
    return rows;
}
std::vector<row> rows_of_database(std::span<const key> asked) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return rows_of(asked);
}
using fetch = std::vector<row> (*)(std::span<const key>);

key sum_of(const auto& rows) {
    key sum = 0;
    for (const row* one : rows) {
        sum += one->id;
    }
    return sum;
}
class shared {
public:
    explicit shared(fetch callback) : m_memo(&row::id, callback, {.entries = entries}) {}
    key resolve(const std::vector<key>& keys) { return sum_of(m_memo.resolve(keys)); }

private:
    mp::shared_memo<row, key> m_memo;
};
class behind_a_mutex {
public:
    explicit behind_a_mutex(fetch callback) : m_memo(&row::id, callback, {.entries = entries}) {}
    key resolve(const std::vector<key>& keys) {
        const std::scoped_lock lock(m_mutex);
        return sum_of(m_memo.resolve(keys));
    }

private:
    std::mutex m_mutex;
    mp::memo<row, key> m_memo;
};

enum workload { hits, fetches };

template <class Memo, workload What>
void resolve(benchmark::State& state) {
    static std::unique_ptr<Memo> memo; // shared by all threads; the loop begins when all of them have arrived
    if (state.thread_index() == 0) {
        memo = std::make_unique<Memo>(What == fetches ? rows_of_database : rows_of);
        for (key first = 0; first < static_cast<key>(entries); first += chunk_size) {
            std::vector<key> keys(chunk_size);
            for (std::size_t at = 0; at < chunk_size; ++at) {
                keys[at] = first + static_cast<key>(at);
            }
            memo->resolve(keys);
        }
    }
    std::mt19937_64 random(static_cast<std::uint64_t>(state.thread_index()) + 2013);
    std::uniform_int_distribution<key> remembered(0, entries - 1);
    std::uniform_int_distribution<key> any(0, entries * 10 / 9 - 1);
    // A million keys: with fewer, all keys would soon be remembered and nothing would be fetched any more.
    std::vector<std::vector<key>> chunks(512, std::vector<key>(chunk_size));
    for (std::vector<key>& chunk : chunks) {
        for (key& one : chunk) {
            one = What == fetches ? any(random) : remembered(random);
        }
    }
    std::size_t at = 0;
    for ([[maybe_unused]] auto _ : state) {
        const std::vector<key>& chunk = chunks[at++ % chunks.size()];
        key expected = 0;
        for (const key one : chunk) {
            expected += one;
        }
        if (memo->resolve(chunk) != expected) {
            state.SkipWithError("wrong rows");
            break;
        }
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(chunk_size));
    if (state.thread_index() == 0) {
        memo.reset(); // the loop ends when all threads are done
    }
}
} // namespace

BENCHMARK_TEMPLATE(resolve, shared, hits)->ThreadRange(1, 4)->UseRealTime();
BENCHMARK_TEMPLATE(resolve, behind_a_mutex, hits)->ThreadRange(1, 4)->UseRealTime();
BENCHMARK_TEMPLATE(resolve, shared, fetches)->ThreadRange(1, 4)->UseRealTime();
BENCHMARK_TEMPLATE(resolve, behind_a_mutex, fetches)->ThreadRange(1, 4)->UseRealTime();
