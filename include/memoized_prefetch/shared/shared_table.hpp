/// shared_table: the table of a shared memo, divided into shards. Each shard has a table, a mutex, and the keys that
/// are being fetched.
#pragma once

#include <memoized_prefetch/shared/flight.hpp>
#include <memoized_prefetch/tables/memo_table.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace memoized_prefetch::detail {

template <class Key, class Handle, class Traits>
class shared_table {
public:
    using key_type = Key;
    using handle_type = Handle;
    using traits_type = Traits;
    using allocator_type = std::allocator<std::byte>;
    using flight_type = flight<Key, Handle>;

    struct place_in_flight {
        std::shared_ptr<flight_type> flight;
        slot_id at;
    };
    struct hash_key {
        std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(Traits::hash(key)); }
    };
    struct equal_keys {
        bool operator()(const Key& left, const Key& right) const { return Traits::equal(left, right); }
    };
    struct alignas(64) shard { // on cache lines of its own
        std::mutex mutex;
        memo_table<Key, Handle, Traits> table;
        std::unordered_map<Key, place_in_flight, hash_key, equal_keys> flying;
    };

    /// Hashes divide keys evenly only among many entries, and a row that is larger than its shard's share is not kept.
    /// So each shard gets at least these shares.
    shared_table(std::size_t entries, std::size_t bytes) {
        constexpr std::size_t fewest_entries = 1'024;
        constexpr std::size_t fewest_bytes = 1 << 20;
        const auto is_enough = [&](std::size_t shards) {
            return entries / shards >= fewest_entries && bytes / shards >= fewest_bytes;
        };
        while (m_count < most_shards && is_enough(2 * m_count)) {
            m_count *= 2;
        }
        m_shards = std::make_unique<shard[]>(m_count);
        for (std::size_t at = 0; at < m_count; ++at) {
            m_shards[at].table.set_bound(entries == unbounded ? unbounded : part(entries, at));
            m_shards[at].table.set_weight_bound(bytes == unbounded ? unbounded : part(bytes, at));
        }
    }

    [[nodiscard]] static std::uint32_t tag_of(const Key& key) { return memo_table<Key, Handle, Traits>::tag_of(key); }
    [[nodiscard]] std::size_t shards() const noexcept { return m_count; }
    [[nodiscard]] shard& operator[](std::size_t at) const noexcept { return m_shards[at]; }
    /// Uses the tag bits that a growing index uses last: it begins with the upper bits and the lowest three.
    [[nodiscard]] std::size_t shard_of(std::uint32_t tag) const noexcept { return tag >> 3U & (m_count - 1); }

    /// Trims a shard whose lock is held, and drops the evicted handles without the lock.
    static std::size_t trim(shard& part, std::unique_lock<std::mutex>& lock) noexcept {
        const std::size_t evicted = part.table.trim();
        release(part, lock);
        return evicted;
    }
    /// Drops the handles that left a shard. The shard's lock is held, except while handles are dropped.
    static void release(shard& part, std::unique_lock<std::mutex>& lock) noexcept {
        std::array<Handle, 32> gone;
        for (;;) {
            std::size_t count = 0;
            while (count < gone.size() && part.table.take_retired(gone[count])) {
                ++count;
            }
            if (count == 0) {
                return;
            }
            lock.unlock();
            for (std::size_t at = 0; at < count; ++at) {
                gone[at] = Handle{};
            }
            lock.lock();
        }
    }

private:
    static constexpr std::size_t most_shards = 16;
    [[nodiscard]] std::size_t part(std::size_t whole, std::size_t at) const noexcept {
        return whole / m_count + (at < whole % m_count ? 1 : 0);
    }
    std::size_t m_count = 1;
    std::unique_ptr<shard[]> m_shards;
};

} // namespace memoized_prefetch::detail
