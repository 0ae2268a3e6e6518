/// chunk_buffers: the working arrays of one chunk. The table keeps them from one chunk to the next.
///
/// Otherwise a chunk would allocate a dozen arrays of its size, but a hit must allocate nothing. Between chunks the
/// arrays are empty. Those of a chunk with more than `most_kept` keys are freed.
#pragma once

#include <memoized_prefetch/tables/key_set.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace memoized_prefetch {

/// Where a key of a chunk was found: the slot of its entry in the table. A missed key has a number instead, its
/// position among the missed keys.
class key_place {
public:
    key_place() = default;
    explicit key_place(slot_id slot) noexcept : m_value(slot) {}
    [[nodiscard]] static key_place missed(slot_id number) noexcept { return key_place(missed_bit + number); }

    [[nodiscard]] bool is_missed() const noexcept { return m_value >= missed_bit; }
    /// The entry's slot; for a missed key, a slot that no table has.
    [[nodiscard]] slot_id slot() const noexcept { return m_value; }
    /// The number of a missed key.
    [[nodiscard]] slot_id number() const noexcept { return m_value - missed_bit; }

private:
    static constexpr slot_id missed_bit = 0x8000'0000U;
    slot_id m_value = no_slot;
};

template <class Key, class Handle, class Traits, class Allocator>
struct chunk_buffers {
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>>;

    template <class T>
    using array_of = roomy_array<T, Allocator>;

    /// Objects that were collected together.
    struct group {
        std::size_t begin;      // of their positions
        std::uint32_t relation; // number of their first relation
    };

    array_of<key_place> places;           // by distinct key
    array_of<std::uint32_t> relations;    // by distinct key: see key_counts.hpp
    array_of<const Handle*> handles;      // by distinct key: the table's, or one of `fetched_handles`
    key_set<Key, Traits, Allocator> keys; // those missed
    array_of<slot_id> missed;             // by number in `keys`: its position among the distinct keys
    array_of<slot_id> duplicates;         // positions whose key was missed at another position: see `miss`
    array_of<slot_id> fetched;            // positions
    vector_of<Key> asked;                 // the keys at these positions
    vector_of<Handle> fetched_handles;    // by distinct key; empty when none was missed
    vector_of<Handle> displaced;          // former `fetched_handles`: dropped at the end, as that may run any code
    array_of<slot_id> added;              // entries
    array_of<slot_id> order;              // entries, most recently used first
    array_of<std::uint8_t> unused;        // by distinct key
    key_index<Allocator> entries;         // to positions, for a chunk that must not number entries
    array_of<slot_id> positions;          // by object and relation: the key
    array_of<const Handle*> rows;         // by object and relation: what is attached
    vector_of<group> groups;
    vector_of<std::uint64_t> requests; // by relation

    /// Fills `order` with `value(position)` for each distinct position in `uses`, the one used last first. Skips
    /// positions from `count` on, which are not keys; `value(count)` must be defined.
    template <class Value>
    void order_by_last_use(std::size_t count, std::span<const slot_id> uses, Value&& value) {
        order.clear();
        order.reserve(count + 1);
        unused.clear();
        unused.resize(count + 1, 1);
        unused[count] = 0;
        std::uint8_t* const is_unused = unused.data();
        slot_id* const last = order.data();
        std::size_t used = 0;
        for (std::size_t at = uses.size(); at-- > 0;) {
            // No branch on whether the position was seen, since it would be unpredictable: with it, a use took 11
            // cycles here.
            const std::size_t position = std::min<std::size_t>(uses[at], count);
            last[used] = value(position);
            used += is_unused[position];
            is_unused[position] = 0;
        }
        order.added(used);
    }

    /// Releases keys and handles, which may run any code.
    void clear() noexcept {
        places.clear();
        relations.clear();
        handles.clear();
        keys.clear();
        missed.clear();
        duplicates.clear();
        fetched.clear();
        asked.clear();
        fetched_handles.clear();
        displaced.clear();
        added.clear();
        order.clear();
        entries.clear();
        positions.clear();
        rows.clear();
        groups.clear();
        requests.clear();
    }
};

} // namespace memoized_prefetch
