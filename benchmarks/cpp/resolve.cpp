// Resolving a chunk's keys: dedupe, look up, recency, admit, evict. The rows that a chunk needs are in memory; nothing
// is queried. Each process runs one workload, so that `python -m benchmarks.cpp` can interleave its contenders:
//
//   resolve int64|string uniform|zipf0.8|zipf1.0|zipf1.2|scan ENTRIES ROWS [Google Benchmark's options]
//
// Before timing, every contender gets as many keys as there are rows, and twice as many as entries.
#include "streams.hpp"

#include <benchmark/benchmark.h>
#include <memoized_prefetch/memoized_prefetch.hpp>

namespace mp = memoized_prefetch;
#include "contenders.hpp"

#include <charconv>
#include <cstdio>

namespace {
constexpr std::size_t chunk_size = 2'000;
constexpr std::size_t chunks_per_round = 200;
constexpr std::size_t rounds = 7;
constexpr std::size_t keys_per_round = chunks_per_round * chunk_size;

template <class Key>
Key key_of(std::size_t number);
template <>
std::int64_t key_of(std::size_t number) {
    return static_cast<std::int64_t>(number) + 1;
}
template <>
std::string key_of(std::size_t number) {
    const std::string digits = std::to_string(number);
    return "B" + std::string(9 - digits.size(), '0') + digits; // ten characters, like an ISBN: not on the heap
}
std::size_t number_of(std::int64_t key) { return static_cast<std::size_t>(key) - 1; }
std::size_t number_of(const std::string& key) {
    std::size_t number = 0;
    std::from_chars(key.data() + 1, key.data() + key.size(), number);
    return number;
}

/// One stream over one table, and each contender's progress in it.
template <class Key>
struct workload {
    workload(const std::string& stream, std::size_t its_entries, std::size_t row_count)
        : entries(its_entries), warm_up((std::max(2 * entries, row_count) + chunk_size - 1) / chunk_size * chunk_size),
          numbers(streams::numbers(stream, row_count, warm_up + rounds * keys_per_round)) {
        rows.reserve(row_count);
        for (std::size_t number = 0; number < row_count; ++number) {
            rows.push_back({key_of<Key>(number), static_cast<std::int64_t>(number)});
        }
        for (std::size_t at = warm_up; at < numbers.size(); ++at) {
            timed.push_back(key_of<Key>(numbers[at]));
        }
    }
    [[nodiscard]] auto fetch() const {
        return [this](std::span<const Key> asked) {
            std::vector<contenders::handle<Key>> found;
            found.reserve(asked.size());
            for (const Key& key : asked) {
                // Shared by name only: counting references would cost all contenders the same.
                found.emplace_back(std::shared_ptr<const void>(), &rows[number_of(key)]);
            }
            return found;
        };
    }
    template <class Contender>
    void warm(Contender& contender) const {
        std::vector<Key> chunk;
        for (std::size_t at = 0; at < warm_up; at += chunk_size) {
            chunk.clear();
            for (std::size_t one = at; one < at + chunk_size; ++one) {
                chunk.push_back(key_of<Key>(numbers[one]));
            }
            contender.resolve(std::span<const Key>(chunk), [](const contenders::row<Key>*) {});
        }
    }
    /// Compares addresses: reading the rows would cost all contenders the same and blur the differences.
    [[nodiscard]] std::uintptr_t expected(std::size_t round) const {
        std::uintptr_t sum = 0;
        for (std::size_t at = 0; at < keys_per_round; ++at) {
            sum += reinterpret_cast<std::uintptr_t>(&rows[numbers[warm_up + round * keys_per_round + at]]);
        }
        return sum;
    }
    [[nodiscard]] std::span<const Key> chunk(std::size_t round, std::size_t number) const {
        return std::span(timed).subspan(round * keys_per_round + number * chunk_size, chunk_size);
    }

    std::size_t entries;
    std::size_t warm_up;
    std::vector<std::uint32_t> numbers;
    std::vector<contenders::row<Key>> rows;
    std::vector<Key> timed;
};

void report(benchmark::State& state) { state.SetItemsProcessed(static_cast<std::int64_t>(keys_per_round)); }

template <class Key, class Contender>
void add(const workload<Key>& what) {
    benchmark::RegisterBenchmark(
        Contender::name,
        [&what, contender = std::shared_ptr<Contender>(), round = std::size_t{0}](benchmark::State& state) mutable {
            if (contender == nullptr) {
                contender = std::make_shared<Contender>(what.entries, what.fetch());
                what.warm(*contender);
            }
            std::uintptr_t sum = 0;
            for (auto _ : state) {
                for (std::size_t number = 0; number < chunks_per_round; ++number) {
                    contender->resolve(what.chunk(round, number), [&](const contenders::row<Key>* one) {
                        sum += reinterpret_cast<std::uintptr_t>(one);
                    });
                }
            }
            if (sum != what.expected(round)) {
                state.SkipWithError("a wrong row was resolved");
            }
            round = (round + 1) % rounds;
            if constexpr (requires { contender->stats(); }) {
                const mp::memo_stats stats = contender->stats();
                constexpr std::size_t key_and_value = sizeof(Key) + sizeof(contenders::handle<Key>);
                state.counters["misses"] = static_cast<double>(stats.misses);
                state.counters["overhead"] =
                    static_cast<double>(stats.bytes) / static_cast<double>(stats.size) - key_and_value;
                state.counters["filled"] = static_cast<double>(stats.size) / static_cast<double>(what.entries);
            } else {
                state.counters["misses"] = static_cast<double>(contender->misses);
            }
            report(state);
        })
        ->Iterations(1)
        ->Repetitions(rounds)
        ->Unit(benchmark::kMillisecond);
}

template <class Key>
void add_all(const workload<Key>& what) {
    using namespace contenders;
    add<Key, memo<Key>>(what);
    add<Key, chunk_loop<Key, multi_index_lru<Key>>>(what);
    add<Key, chunk_loop<Key, list_and_map<Key, std_map, list_and_std_name>>>(what);
    add<Key, chunk_loop<Key, list_and_map<Key, flat_map, list_and_flat_name>>>(what);
    add<Key, chunk_loop<Key, bare_map<Key>>>(what);
    benchmark::RegisterBenchmark(dedupe_alone<Key>::name,
                                 [&what, round = std::size_t{0}](benchmark::State& state) mutable {
                                     std::vector<mp::slot_id> positions;
                                     for (auto _ : state) {
                                         for (std::size_t number = 0; number < chunks_per_round; ++number) {
                                             dedupe_alone<Key>().resolve(what.chunk(round, number), positions);
                                             benchmark::DoNotOptimize(positions.data());
                                         }
                                     }
                                     round = (round + 1) % rounds;
                                     report(state);
                                 })
        ->Iterations(1)
        ->Repetitions(rounds)
        ->Unit(benchmark::kMillisecond);
}

template <class Key>
int run(const std::string& stream, std::size_t entries, std::size_t row_count) {
    const workload<Key> what(stream, entries, row_count);
    add_all(what);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::ClearRegisteredBenchmarks(); // they refer to the workload
    return 0;
}
} // namespace

int main(int count, char** arguments) {
    benchmark::Initialize(&count, arguments);
    const std::vector<std::string> words(arguments + 1, arguments + count);
    if (words.size() != 4 || (words[0] != "int64" && words[0] != "string")) {
        std::fputs("resolve int64|string uniform|zipf0.8|zipf1.0|zipf1.2|scan ENTRIES ROWS\n", stderr);
        return 2;
    }
    const std::size_t entries = std::stoul(words[2]);
    const std::size_t row_count = std::stoul(words[3]);
    return words[0] == "int64" ? run<std::int64_t>(words[1], entries, row_count)
                               : run<std::string>(words[1], entries, row_count);
}
