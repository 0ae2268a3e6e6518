/// search_in_batches: looks up many keys in an index and its nodes.
///
/// It loads the cells of a batch, then its nodes, and only then compares. In a table of a million entries that saves a
/// quarter of a look-up; loading ahead in the same way for recency_table::use gained nothing.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/tables/key_index.hpp>
#include <memoized_prefetch/tables/node_store.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

namespace memoized_prefetch::detail {

template <class Key, class Payload>
void prefetch_node(const table_node<Key, Payload>* at) noexcept {
    prefetch_to_read(at); // it may lie on two cache lines
    prefetch_to_read(&at->tag);
}

/// `tags`: the keys' `tag_of`. Calls `found(first, slots, nodes)` per batch: `slots[i]` is the entry of `keys[first +
/// i]`, or `no_slot`, and then `nodes[i]` is any node. `found` must not change the index; comparing keys may.
template <class Traits, class Allocator, class Key, class Payload, class Found>
MEMOIZED_PREFETCH_ALWAYS_INLINE void
search_in_batches(const key_index<Allocator>& index, node_store<Key, Payload, Allocator>& store,
                  std::span<const Key> keys, std::span<const std::uint32_t> tags, Found& found) {
    using node = table_node<Key, Payload>;
    // Whether comparing keys cannot run code that changes the index.
    constexpr bool compares_plainly = noexcept(Traits::equal(std::declval<const Key&>(), std::declval<const Key&>()));
    constexpr std::size_t batch = 16;     // about as many loads as a core can have in flight
    std::array<std::size_t, batch> homes; // NOLINT(*-member-init): written before read, like the next two
    std::array<slot_id, batch> slots;     // NOLINT(*-member-init)
    std::array<node*, batch> nodes;       // NOLINT(*-member-init)
    node nobody;                          // stands for a missing entry, to avoid a branch on whether there is one
    const auto prefetch_cells = [&](std::size_t begin) {
        for (std::size_t at = 0; at < std::min(batch, tags.size() - begin); ++at) {
            homes[at] = index.prefetch(tags[begin + at]);
        }
    };
    prefetch_cells(0);
    std::uint64_t seen = index.version();
    for (std::size_t begin = 0; begin < tags.size(); begin += batch) {
        const std::size_t count = std::min(batch, tags.size() - begin);
        if (index.version() != seen) [[unlikely]] {
            prefetch_cells(begin);
            seen = index.version();
        }
        for (std::size_t at = 0; at < count; ++at) {
            const slot_id slot = index.candidate(tags[begin + at], homes[at]);
            slots[at] = slot;
            nodes[at] = slot == no_slot ? &nobody : &store[slot];
            prefetch_node(nodes[at]);
        }
        if (begin + count < tags.size()) {
            prefetch_cells(begin + count);
        }
        bool same = true;
        for (std::size_t at = 0; at < count; ++at) {
            if constexpr (compares_plainly && std::is_scalar_v<Key>) {
                // A missing key is compared with itself, so that the user's functions see only keys that the user gave.
                // Selects one of two addresses, because a branch costs 4 ns per key if half of them are there.
                const std::array<const Key*, 2> stored{&nodes[at]->key, &keys[begin + at]};
                same &= Traits::equal(*stored[unsigned{slots[at] == no_slot}], keys[begin + at]);
            } else {
                same = same && (slots[at] == no_slot || Traits::equal(nodes[at]->key, keys[begin + at]));
            }
            if constexpr (!compares_plainly) {
                same = same && index.version() == seen;
            }
        }
        if (same) [[likely]] {
            found(begin, std::span<const slot_id>(slots.data(), count), std::span<node* const>(nodes.data(), count));
            continue;
        }
        // Two keys share a tag, or comparing has changed the index and the candidates are out of date: go one by one.
        for (std::size_t at = begin; at < begin + count; ++at) {
            slots[0] = index.find(tags[at], [&](slot_id slot) { return Traits::equal(store[slot].key, keys[at]); });
            nodes[0] = slots[0] == no_slot ? &nobody : &store[slots[0]];
            found(at, std::span<const slot_id>(slots.data(), 1), std::span<node* const>(nodes.data(), 1));
        }
    }
}

} // namespace memoized_prefetch::detail
