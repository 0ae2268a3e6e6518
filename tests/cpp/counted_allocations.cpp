// A hit allocates nothing, and entries take few bytes. A separate program, as it counts every call of operator new.
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <numeric>
#include <string>
#include <vector>

namespace mp = memoized_prefetch;

namespace {
std::size_t allocations = 0;

template <class Key>
struct row {
    Key id;
};
template <class Key>
auto all_there(std::span<const Key> keys) {
    std::vector<row<Key>> rows;
    for (const Key& key : keys) {
        rows.push_back({key});
    }
    return rows;
}
std::vector<std::int64_t> keys_from(std::int64_t first, std::size_t count) {
    std::vector<std::int64_t> keys(count);
    std::iota(keys.begin(), keys.end(), first);
    return keys;
}
} // namespace

// Not inlined: otherwise g++ warns that new and free do not match.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++allocations;
    if (void* const at = std::malloc(size)) {
        return at;
    }
    std::abort();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, const std::nothrow_t&) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept { std::free(at); }

TEST(counted_allocations, resolving_what_is_remembered_makes_none) {
    mp::memo rows{&row<std::int64_t>::id, all_there<std::int64_t>, {.entries = 5'000}};
    const std::vector<std::int64_t> keys = keys_from(1, 2'000);
    const std::size_t at_first = allocations;
    { const auto pinned = rows.resolve(keys); }
    ASSERT_GT(allocations, at_first) << "they are counted";
    for (int chunk = 0; chunk < 3; ++chunk) {
        const std::size_t before = allocations;
        std::int64_t sum = 0;
        for (const auto* one : rows.resolve(keys)) {
            sum += one->id;
        }
        EXPECT_EQ(allocations, before);
        EXPECT_EQ(sum, 2'000 * 2'001 / 2);
    }
}

TEST(counted_allocations, of_a_chunk_are_as_many_whatever_its_size) {
    struct object {
        std::int64_t key;
        std::shared_ptr<const row<std::int64_t>> found;
    };
    mp::memo rows{&row<std::int64_t>::id, all_there<std::int64_t>, {.entries = 5'000}};
    mp::prefetcher<object> objects{mp::to_one(rows, &object::key, &object::found)};
    std::vector<object> chunk(2'000);
    for (std::size_t at = 0; at < chunk.size(); ++at) {
        chunk[at].key = static_cast<std::int64_t>(at);
    }
    objects.process_chunk(chunk);
    const auto made_by = [&](std::size_t count) {
        const std::size_t before = allocations;
        objects.process_chunk(std::span(chunk).first(count));
        return allocations - before;
    };
    EXPECT_EQ(made_by(2'000), made_by(1));
}

TEST(counted_allocations, entries_take_at_most_48_bytes_over_key_and_value) {
    for (const std::size_t entries : {100'000U, 180'000U, 400'000U}) {
        mp::memo rows{&row<std::int64_t>::id, all_there<std::int64_t>, {.entries = entries}};
        for (std::size_t first = 0; first < 2 * entries; first += 2'000) {
            const auto pinned = rows.resolve(keys_from(static_cast<std::int64_t>(first), 2'000));
        }
        const mp::memo_stats stats = rows.stats();
        ASSERT_EQ(stats.size, entries);
        constexpr std::size_t key_and_value = sizeof(std::int64_t) + sizeof(std::shared_ptr<const row<std::int64_t>>);
        EXPECT_LE(static_cast<double>(stats.bytes) / static_cast<double>(entries), key_and_value + 48) << entries;
    }
}
