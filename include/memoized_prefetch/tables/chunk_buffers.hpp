/// chunk_buffers: what one chunk needs beside the tables, kept from one chunk to the next by the table that it belongs to.
///
/// A chunk would else allocate a dozen arrays of its size, and a hit is to allocate nothing. They have nothing in them between
/// chunks; those of a chunk with more than `most_kept` keys are not kept.
#pragma once

#include <memoized_prefetch/tables/key_set.hpp>

#include <cstdint>

namespace memoized_prefetch {

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

    array_of<slot_id> slots;           // by distinct key: the memo's entry, or its number in `keys`
    array_of<std::uint32_t> relations; // by distinct key: who asked first
    array_of<const Handle*> handles;   // by distinct key: the memo's, or one of `fetched_handles`
    key_set<Key, Traits, Allocator> keys;
    array_of<slot_id> missed;          // by number in `keys`: its position among the distinct keys
    array_of<slot_id> duplicates;      // positions whose key has a second one, which was missed
    array_of<slot_id> fetched;         // positions
    vector_of<Key> asked;              // these keys
    vector_of<Handle> fetched_handles; // by distinct key: what was fetched; empty when none was missed
    vector_of<Handle> displaced;       // of `fetched_handles`: dropped at the end, as that may run any code
    array_of<slot_id> added;           // entries
    array_of<slot_id> order;           // entries, most recently used first
    array_of<std::uint8_t> unused;     // by distinct key
    key_index<Allocator> entries;      // to their positions, where they have no numbers
    array_of<slot_id> positions;       // by object and relation: the key
    array_of<const Handle*> rows;      // by object and relation: what is attached
    vector_of<group> groups;
    vector_of<std::uint64_t> requests; // by relation

    /// Releases keys and handles, which may run any code.
    void clear() noexcept {
        slots.clear();
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
