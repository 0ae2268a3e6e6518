// Resolving a chunk's keys: dedupe, look up, recency, admit, evict. The rows a chunk needs are at hand, nothing is queried.
// Times are per key. Beside it: the usual LRU, a list with a hash map, one key at a time, as its users write it.
#include <benchmark/benchmark.h>
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace {
namespace mp = memoized_prefetch;
using key = std::int64_t;
using row = key; // stands for itself, so that results can be checked
constexpr std::size_t chunk_size = 2'000;

struct workload {
    const char* name;
    std::size_t distinct;
    std::size_t entries;
    bool zipf; // else uniform
};
constexpr workload workloads[] = {
    {"1e3 keys, all fit, uniform", 1'000, 1'000, false},
    {"1e3 keys in 100 entries, Zipf 1.0", 1'000, 100, true},
    {"1e5 keys, all fit, uniform", 100'000, 100'000, false},
    {"1e5 keys in 1e4 entries, Zipf 1.0", 100'000, 10'000, true},
    {"1e6 keys, all fit, uniform", 1'000'000, 1'000'000, false},
    {"1e6 keys, all fit, Zipf 1.0", 1'000'000, 1'000'000, true},
    {"1e7 keys, all fit, uniform", 10'000'000, 10'000'000, false},
};

std::vector<key> stream_of(const workload& what) {
    std::mt19937_64 random(2013);
    std::vector<key> names(what.distinct); // keys as a database deals them out, in an order of no meaning
    for (std::size_t at = 0; at < names.size(); ++at) {
        names[at] = static_cast<key>(at + 1);
    }
    std::shuffle(names.begin(), names.end(), random);
    std::vector<double> upto;
    if (what.zipf) {
        double sum = 0;
        for (std::size_t rank = 1; rank <= what.distinct; ++rank) {
            upto.push_back(sum += 1.0 / static_cast<double>(rank));
        }
    }
    std::vector<key> stream(std::max<std::size_t>(1'000'000, 2 * what.distinct) / chunk_size * chunk_size);
    std::uniform_real_distribution<double> part;
    for (key& one : stream) {
        const double at = part(random);
        const std::size_t rank =
            what.zipf
                ? static_cast<std::size_t>(std::lower_bound(upto.begin(), upto.end(), at * upto.back()) - upto.begin())
                : static_cast<std::size_t>(at * static_cast<double>(what.distinct));
        one = names[std::min(rank, what.distinct - 1)];
    }
    return stream;
}

struct rows_at_hand {
    static void fetch(const std::vector<key>& asked, auto&& take) {
        for (const key one : asked) {
            take(one);
        }
    }
    static key key_of(row one) { return one; }
    static bool valid(row, key) { return true; }
};
struct keys_of_chunk {
    std::span<const key> keys;
    key sum = 0;
    [[nodiscard]] std::size_t size() const { return keys.size(); }
    [[nodiscard]] static std::size_t width() { return 1; }
    void read(std::size_t i, std::span<mp::key_reading<key>> out) const { out[0] = {mp::key_state::present, keys[i]}; }
    void attach(std::size_t, std::span<const row* const> rows) { sum += *rows[0]; }
};

struct memo_of_chunks {
    using memo = mp::memo_table<key, row>;
    memo table;
    mp::counters count;
    explicit memo_of_chunks(std::size_t entries) : table(entries) {}

    key process(std::span<const key> chunk) {
        rows_at_hand source;
        keys_of_chunk objects{chunk};
        mp::to_one_pass<memo> pass(table);
        pass.collect(objects);
        pass.resolve(source);
        pass.attach(0, objects);
        pass.commit({&count, 1});
        return objects.sum;
    }
    [[nodiscard]] double hit_rate() const {
        return static_cast<double>(count.hits) / static_cast<double>(count.hits + count.misses);
    }
};

struct list_and_map {
    std::list<std::pair<key, row>> newest_first;
    std::unordered_map<key, std::list<std::pair<key, row>>::iterator> index;
    std::size_t entries;
    std::size_t hits = 0;
    std::size_t asked = 0;
    explicit list_and_map(std::size_t its_entries) : entries(its_entries) {}

    key process(std::span<const key> chunk) {
        key sum = 0;
        asked += chunk.size();
        for (const key one : chunk) {
            const auto found = index.find(one);
            if (found != index.end()) {
                ++hits;
                newest_first.splice(newest_first.begin(), newest_first, found->second);
            } else {
                newest_first.emplace_front(one, one);
                index.emplace(one, newest_first.begin());
                if (newest_first.size() > entries) {
                    index.erase(newest_first.back().first);
                    newest_first.pop_back();
                }
            }
            sum += newest_first.front().second;
        }
        return sum;
    }
    [[nodiscard]] double hit_rate() const { return static_cast<double>(hits) / static_cast<double>(asked); }
};

template <class Contender>
void resolve(benchmark::State& state, const workload& what) {
    const std::vector<key> stream = stream_of(what);
    for (auto _ : state) {
        Contender contender(what.entries);
        key sum = 0;
        for (std::size_t at = 0; at < stream.size(); at += chunk_size) {
            sum += contender.process({stream.data() + at, chunk_size});
        }
        state.PauseTiming();
        key expected = 0;
        for (const key one : stream) {
            expected += one;
        }
        if (sum != expected) {
            state.SkipWithError("a wrong row was attached");
            break;
        }
        state.counters["hit_rate"] = contender.hit_rate();
        state.ResumeTiming();
    }
    state.counters["per_key"] =
        benchmark::Counter(static_cast<double>(stream.size()) * static_cast<double>(state.iterations()),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

const bool registered = [] {
    for (const workload& what : workloads) {
        const std::string name = what.name;
        benchmark::RegisterBenchmark(("memo/" + name).c_str(), [&what](benchmark::State& state) {
            resolve<memo_of_chunks>(state, what);
        })->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("list and map/" + name).c_str(), [&what](benchmark::State& state) {
            resolve<list_and_map>(state, what);
        })->Unit(benchmark::kMillisecond);
    }
    return true;
}();
} // namespace
