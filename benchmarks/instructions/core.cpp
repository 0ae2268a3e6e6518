// The engine without Python: resolving a chunk's keys. Run under callgrind by `python -m benchmarks.instructions`.
#include <memoized_prefetch/memoized_prefetch.hpp>
#include <valgrind/callgrind.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <vector>

namespace {
namespace mp = memoized_prefetch;
using key = std::int64_t;
using row = key; // stands for itself, so that results can be checked
using memo = mp::memo_table<key, row>;

constexpr std::size_t chunk_size = 2'000;
constexpr std::size_t chunks = 100;
constexpr double distinct = 100'000;

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

key resolve(memo& table, mp::counters& count, std::span<const key> chunk) {
    rows_at_hand source;
    keys_of_chunk objects{chunk};
    mp::to_one_pass<memo> pass(table);
    pass.collect(objects);
    pass.resolve(source);
    pass.attach(0, objects);
    pass.commit({&count, 1});
    return objects.sum;
}

// Keys by Zipf's law: a few are asked for often, and not all of them fit.
std::vector<key> zipf() {
    std::mt19937_64 random(2013);
    std::vector<key> keys(2 * chunks * chunk_size);
    for (key& one : keys) {
        const double part = static_cast<double>(random() >> 11) * 0x1p-53;
        one = static_cast<key>(std::pow(distinct, part)) * 2'654'435'761; // in a meaningless order
    }
    return keys;
}

bool count_resolving(std::size_t entries, const char* name) {
    const std::vector<key> keys = zipf();
    memo table(entries);
    mp::counters count;
    key sum = 0;
    key expected = 0;
    for (std::size_t at = 0; at < keys.size(); at += chunk_size) {
        if (at == keys.size() / 2) {
            CALLGRIND_START_INSTRUMENTATION;
            CALLGRIND_ZERO_STATS;
        }
        sum += resolve(table, count, {keys.data() + at, chunk_size});
    }
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
    for (const key one : keys) {
        expected += one;
    }
    return sum == expected;
}
} // namespace

int main() {
    if (!count_resolving(10'000, "core: a tenth fits") || !count_resolving(200'000, "core: all fit")) {
        std::puts("a wrong row was attached");
        return 1;
    }
    std::printf("%zu\n", chunks * chunk_size);
}
