/// recency_table: what memo_table and link_table have in common. Entries are found by the hash of their key, kept in
/// the order of their last use, pinned by running chunks, and bounded in number or weight.
///
///   m_index --> m_nodes: [ key | payload | place | tag | number | pins | absent | state ]    stay where they are
///                                            |
///   m_order: oldest ... newest  <------------+                         of the living ones
///
/// Invariants, whenever none of the functions below is running:
///  - a `living` node is in the index and in the order, and m_size counts them;
///  - a `detached` node is in neither: it was erased while pinned. It keeps its value until its last pin goes, then it
///    retires;
///  - a `retired` node waits for `reclaim`, which destroys keys and values; see node_store;
///  - more than `bound()` entries live only while chunks pin them, until `trim`;
///  - an entry that was added where the index was crowded lives no longer than its pins. So a search compares at most
///    16 keys and passes at most 8,192 cells, apart from those of running chunks, even if somebody chooses keys that
///    all hash alike.
///
/// Costs: find, add, use, pin, erase and the eviction of one entry are O(1); trim also passes the pinned entries that
/// are older than what it evicts. Only `reserve_more` allocates, and for `distances` also `use`, `fetched` and
/// `loaded`, which tolerate a failure.
///
/// `Derived` provides `void release_payload(slot_id) noexcept`, which takes the payload of a retired node out and
/// destroys it.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/tables/key_index.hpp>
#include <memoized_prefetch/tables/key_traits.hpp>
#include <memoized_prefetch/tables/lru_log.hpp>
#include <memoized_prefetch/tables/node_store.hpp>
#include <memoized_prefetch/tables/reuse_distances.hpp>
#include <memoized_prefetch/tables/roomy_array.hpp>
#include <memoized_prefetch/tables/search_in_batches.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Table>
class pinned;

/// As a number of entries or bytes: no limit.
inline constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

/// A chunk's working memory is kept for the next one, unless the chunk had more keys than this. Then it would be much
/// to keep, and allocating it again costs little compared with the chunk itself.
inline constexpr std::size_t most_kept = 16'384;

template <class Derived, class Key, class Payload, class Traits, class Allocator>
class recency_table {
public:
    using key_type = Key;
    using traits_type = Traits;
    using allocator_type = Allocator;
    using node = table_node<Key, Payload>;

    recency_table(const recency_table&) = delete;
    recency_table& operator=(const recency_table&) = delete;
    recency_table(recency_table&&) = delete;
    recency_table& operator=(recency_table&&) = delete;

    /// Living entries, including absences and pinned ones.
    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    /// The size that `trim` re-establishes; `unbounded` for none.
    [[nodiscard]] std::size_t bound() const noexcept { return m_bound; }
    /// Takes effect at the next `trim`.
    void set_bound(std::size_t bound) noexcept { m_bound = bound; }

    /// Also bounds the sum of the entries' weights. Call it before the first entry is added, and then weigh every
    /// entry.
    void set_weight_bound(std::size_t bound) noexcept { m_weight_bound = bound; }
    [[nodiscard]] std::size_t weight_bound() const noexcept { return m_weight_bound; }
    [[nodiscard]] bool weighs() const noexcept { return m_weight_bound != unbounded; }
    /// Sets the weight of a living entry, once. Does nothing unless the table weighs.
    void weigh(slot_id slot, std::size_t weight) noexcept {
        if (weighs()) {
            m_weights[slot] = weight;
            m_weight += weight;
        }
    }
    [[nodiscard]] std::size_t weight() const noexcept { return m_weight; }
    /// Passes that are running and may pin entries.
    [[nodiscard]] std::size_t passes() const noexcept { return m_passes; }

    /// Changes when entries are added or leave: a search that ran foreign code compares it.
    [[nodiscard]] std::uint64_t version() const noexcept { return m_index.version(); }
    /// Changes when entries are invalidated: rows whose fetch began before that must not be admitted.
    [[nodiscard]] std::uint64_t generation() const noexcept { return m_generation; }
    void next_generation() noexcept { ++m_generation; }

    /// The living entry under `key`, or `no_slot`. Does not count as a use: the order stays as it is.
    [[nodiscard]] slot_id find(const Key& key) const { return find(key, tag_of(key)); }
    [[nodiscard]] slot_id find(const Key& key, std::uint32_t tag) const {
        return m_index.find(tag, [&](slot_id slot) { return Traits::equal(m_nodes[slot].key, key); });
    }
    /// The hash of a key as the table keeps it. The only function here that hashes.
    [[nodiscard]] static std::uint32_t tag_of(const Key& key) {
        return key_index<Allocator>::tag_of(Traits::hash(key));
    }

    /// Looks up many keys; see search_in_batches. `tags`: the keys' `tag_of`. `found` must not change the table.
    template <class Found>
    void find_all(std::span<const Key> keys, std::span<const std::uint32_t> tags, Found&& found) {
        detail::search_in_batches<Traits>(m_index, m_nodes, keys, tags, found);
    }

    [[nodiscard]] const Key& key(slot_id slot) const noexcept { return m_nodes[slot].key; }
    [[nodiscard]] bool is_living(slot_id slot) const noexcept { return m_nodes[slot].state == node_state::living; }
    /// Whether the entry lives no longer than its pins.
    [[nodiscard]] bool leaves(slot_id slot) const noexcept { return m_nodes[slot].leaves; }
    [[nodiscard]] std::uint32_t pins(slot_id slot) const noexcept { return m_nodes[slot].pins; }
    /// The neighbours in the order of use; `no_slot` beyond the ends.
    [[nodiscard]] slot_id newest() const noexcept { return entry_at(m_order.newest()); }
    [[nodiscard]] slot_id older(slot_id slot) const noexcept { return entry_at(m_order.older(m_nodes[slot].place)); }

    /// Bytes allocated for entries and their index; what keys and values refer to is not counted.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_nodes.bytes() + m_weights.capacity() * sizeof(std::size_t) + m_index.bytes() + m_order.bytes();
    }
    /// From now on `distances` records every use. In a table of a thousand entries that takes 10 cycles per use, a
    /// fifth of the instructions of a key. Otherwise it only knows which keys were fetched again, and a hit costs
    /// nothing.
    void measure_distances() noexcept { m_distances.measure(); }
    /// The miss-ratio curve: what tables of other sizes would have fetched.
    [[nodiscard]] const reuse_distances<Allocator>& distances() const noexcept { return m_distances; }
    /// Uses of keys that were not in the table.
    [[nodiscard]] std::uint64_t fetched() const noexcept { return m_fetched; }
    /// The most entries that `trim` ever left. With this bound the table would have held the same.
    [[nodiscard]] std::size_t largest() const noexcept { return m_largest; }

    /// A chunk used these entries; the first one becomes the most recently used. Slots without an entry are skipped.
    void use(std::span<const slot_id> newest_first) noexcept {
        if (m_distances.measures()) {
            for (std::size_t left = newest_first.size(); left-- > 0;) {
                measure(newest_first[left]);
            }
        }
        // All leave the log before the first one is appended, so that entries the chunk added do not take two places.
        for (const slot_id slot : newest_first) {
            if (is_entry(slot) && m_nodes[slot].place != m_order.nowhere) {
                m_order.leave(std::exchange(m_nodes[slot].place, m_order.nowhere));
            }
        }
        m_order.take_back();
        for (std::size_t left = newest_first.size(); left-- > 0;) {
            const slot_id slot = newest_first[left];
            if (is_entry(slot)) {
                if (m_nodes[slot].place != m_order.nowhere) { // the entry is in the list twice
                    m_order.leave(m_nodes[slot].place);
                }
                m_nodes[slot].place = m_order.append(slot, ordered{*this});
            }
        }
    }
    void use(slot_id slot) noexcept { use({&slot, 1}); }
    /// The chunk fetched the entry and is about to use it. `no_slot`: its row was not added.
    void fetched(slot_id slot) noexcept {
        ++m_fetched;
        if (slot == no_slot) {
            return;
        }
        if (const std::uint32_t tag = m_nodes[slot].tag; m_distances.takes(tag)) {
            m_distances.fetch(tag);
        }
    }
    /// The entry was added without being asked for. It stays, even where the index is crowded.
    void loaded(slot_id slot) noexcept {
        m_nodes[slot].leaves = false;
        if (m_distances.takes(m_nodes[slot].tag)) {
            m_distances.load(m_nodes[slot].tag);
        }
    }
    /// Erases an entry that is out of date; see `erase`.
    void forget(slot_id slot) noexcept {
        m_distances.forget(m_nodes[slot].tag);
        erase(slot);
    }
    /// The same by key. The entry may have been evicted.
    void forget_key(const Key& key) {
        const std::uint32_t tag = tag_of(key);
        const slot_id slot = find(key, tag);
        m_distances.forget(tag);
        if (slot != no_slot) {
            erase(slot);
        }
    }

    /// Whether the caller's chunk may number entries. One running chunk at a time may. At its end it drops its numbers
    /// and calls `give_numbers_back`.
    [[nodiscard]] bool take_numbers() noexcept { return !std::exchange(m_numbers_taken, true); }
    void give_numbers_back() noexcept { m_numbers_taken = false; }
    void drop_number(slot_id slot) noexcept { m_nodes[slot].number = 0; }

    /// A pinned entry stays, whatever the bound. Its value stays even if it is erased.
    void pin(slot_id slot) noexcept { pin(m_nodes[slot], 1); }
    /// The same for a node from `find_all`; `times` may be 0.
    template <class Node>
    static void pin(Node& entry, std::uint32_t times) noexcept {
        entry.pins = (entry.pins + times) & 0x7FF'FFFFU; // all 27 bits
    }

    /// Ends one pin. Call `trim` and `reclaim` afterwards: entries that become free only retire here.
    void unpin(slot_id slot) noexcept {
        node& entry = m_nodes[slot];
        assert(entry.pins > 0);
        if (--entry.pins == 0 && entry.leaves) [[unlikely]] {
            let_go(slot);
        }
    }

    /// Removes an entry from the table. `reclaim` destroys its value, after its last pin has ended.
    void erase(slot_id slot) noexcept {
        node& entry = m_nodes[slot];
        assert(entry.state == node_state::living);
        m_index.erase(entry.tag, slot);
        m_order.leave(entry.place);
        --m_size;
        if (weighs()) {
            m_weight -= std::exchange(m_weights[slot], 0);
        }
        entry.state = node_state::detached;
        entry.leaves = true;
        if (entry.pins == 0) {
            m_nodes.retire(slot);
        }
    }

    /// Evicts the least recently used unpinned entries until the bound holds, if possible. Returns how many.
    std::size_t trim() noexcept {
        std::size_t evicted = 0;
        std::array<slot_id, 16> oldest; // NOLINT(*-member-init): written before read
        for (auto place = m_order.oldest(); over_bound() && place != m_order.nowhere;) {
            // In batches, so that the memory of many nodes is loaded at once.
            std::size_t count = 0;
            for (; count < oldest.size() && place != m_order.nowhere; place = m_order.newer(place)) {
                oldest[count] = m_order[place];
                detail::prefetch_node(&m_nodes[oldest[count++]]);
            }
            for (std::size_t at = 0; at < count; ++at) {
                static_cast<void>(m_index.prefetch(m_nodes[oldest[at]].tag));
            }
            for (std::size_t at = 0; at < count && over_bound(); ++at) {
                if (m_nodes[oldest[at]].pins == 0) {
                    erase(oldest[at]);
                    ++evicted;
                }
            }
        }
        m_largest = std::max(m_largest, m_size);
        m_distances.end_chunk();
        return evicted;
    }

    /// Forgets everything. Pinned values live until their pins end.
    void clear() noexcept {
        forget_all();
        reclaim();
    }
    /// The same, but `reclaim` has to destroy the values.
    void forget_all() noexcept {
        next_generation();
        m_distances.forget_all();
        for (auto place = m_order.oldest(); place != m_order.nowhere; place = m_order.newer(place)) {
            erase(m_order[place]);
        }
    }

    /// Destroys evicted and erased values. Destructors may run foreign code; the table is consistent all the while.
    void reclaim() noexcept {
        while (m_nodes.reclaim_one([&](slot_id slot) { static_cast<Derived*>(this)->release_payload(slot); })) {
        }
    }

    /// Makes room for `count` more entries; nothing is changed when it throws.
    void reserve_more(std::size_t count) {
        m_index.reserve(m_size + count);
        m_nodes.reserve_more(count);
        m_order.reserve(m_size + count);
        if (weighs()) {
            m_weights.resize(m_nodes.capacity());
        }
    }

    /// Frees memory after a chunk that was much larger than the table. Moves entries to other slots, so nobody may hold
    /// slots: does nothing while a chunk runs or an entry is being released. If it cannot allocate, the table stays
    /// large.
    void shrink() noexcept {
        constexpr std::size_t kept = 4 * most_kept;
        if (m_nodes.size() > std::max(kept, 4 * m_size) && m_passes == 0 && m_nodes.size() == m_size + m_nodes.vacant())
            [[unlikely]] {
#if defined(__cpp_exceptions)
            try {
                move_to_less_room();
            } catch (const std::bad_alloc&) { // nothing was changed
            }
#else
            move_to_less_room();
#endif
        }
    }

    /// Checks every invariant above in O(size). For tests and debugging.
    [[nodiscard]] bool consistent() const {
        std::size_t listed = 0;
        for (slot_id slot = newest(); slot != no_slot; slot = older(slot)) {
            if (!is_living(slot) || ++listed > m_nodes.size() || m_order[m_nodes[slot].place] != slot) {
                return false;
            }
            const slot_id found = m_index.find(m_nodes[slot].tag, [&](slot_id id) { return id == slot; });
            if (found != slot) {
                return false;
            }
        }
        std::size_t in_table = 0;
        std::size_t vacant = 0;
        for (slot_id slot = 0; slot < m_nodes.size(); ++slot) {
            in_table += m_nodes[slot].state == node_state::living ? 1U : 0U;
            vacant += m_nodes[slot].state == node_state::vacant ? 1U : 0U;
        }
        std::size_t weight = 0;
        for (const std::size_t one : m_weights) {
            weight += one;
        }
        return m_order.size() == m_size && listed == m_size && in_table == m_size && m_index.size() == m_size &&
               vacant == m_nodes.vacant() && weight == m_weight && m_distances.consistent();
    }

protected:
    explicit recency_table(std::size_t bound) noexcept : m_bound(bound) {}
    ~recency_table() = default;

    /// Adds an entry under a new key. It becomes the most recently used one. Needs room from `reserve_more`.
    slot_id add(Key key, std::uint32_t tag, Payload payload, bool is_absent = false) noexcept {
        const slot_id slot = m_nodes.take();
        node& entry = m_nodes[slot];
        entry.key = std::move(key);
        entry.payload = std::move(payload);
        entry.tag = tag;
        entry.leaves = false;
        entry.absent = is_absent;
        entry.state = node_state::living;
        if (const std::size_t place = m_index.insert(tag, slot); m_index.crowded(tag, place)) [[unlikely]] {
            entry.leaves = true;
        }
        entry.place = m_order.append(slot, ordered{*this});
        ++m_size;
        return slot;
    }

    [[nodiscard]] Payload& payload(slot_id slot) noexcept { return m_nodes[slot].payload; }
    [[nodiscard]] const Payload& payload(slot_id slot) const noexcept { return m_nodes[slot].payload; }
    [[nodiscard]] auto& nodes() noexcept { return m_nodes; }
    [[nodiscard]] const auto& nodes() const noexcept { return m_nodes; }

private:
    template <class>
    friend class pinned;
    using slot_array = roomy_array<slot_id, Allocator>;

    MEMOIZED_PREFETCH_NOINLINE void move_to_less_room() {
        key_index<Allocator> index;
        lru_log<Allocator> order;
        node_store<Key, Payload, Allocator> nodes;
        decltype(m_weights) weights;
        index.reserve(m_size);
        order.reserve(m_size);
        nodes.reserve_more(m_size);
        weights.resize(weighs() ? nodes.capacity() : 0);
        // From here on nothing throws and no foreign code runs.
        for (auto place = m_order.oldest(); place != m_order.nowhere; place = m_order.newer(place)) {
            const slot_id from = m_order[place];
            const slot_id to = nodes.take();
            nodes[to] = std::move(m_nodes[from]);
            index.insert(nodes[to].tag, to);
            nodes[to].place = order.append(to, unmoved{});
            if (weighs()) {
                weights[to] = m_weights[from];
            }
        }
        m_index.replace(std::move(index));
        m_order = std::move(order);
        m_nodes.swap(nodes);
        m_weights.swap(weights);
    }
    /// For a log that is at most half full, so that no sweep moves entries.
    struct unmoved {
        void load(slot_id) const noexcept {}
        void move(slot_id, std::uint32_t) const noexcept {}
    };

    MEMOIZED_PREFETCH_NOINLINE void let_go(slot_id slot) noexcept {
        is_living(slot) ? erase(slot) : m_nodes.retire(slot);
    }
    [[nodiscard]] bool is_entry(slot_id slot) const noexcept { return slot < m_nodes.size() && is_living(slot); }
    void measure(slot_id slot) noexcept {
        if (is_entry(slot) && m_distances.takes(m_nodes[slot].tag)) {
            m_distances.use(m_nodes[slot].tag);
        }
    }
    [[nodiscard]] bool over_bound() const noexcept { return m_size > m_bound || m_weight > m_weight_bound; }
    [[nodiscard]] slot_id entry_at(std::uint32_t place) const noexcept {
        return place == m_order.nowhere ? no_slot : m_order[place];
    }
    /// The nodes as the LRU log sees them.
    struct ordered {
        recency_table& table;
        void load(slot_id slot) const noexcept { detail::prefetch_to_write(&table.m_nodes[slot].place); }
        void move(slot_id slot, std::uint32_t place) const noexcept { table.m_nodes[slot].place = place; }
    };

    key_index<Allocator> m_index;
    lru_log<Allocator> m_order;
    reuse_distances<Allocator> m_distances;
    node_store<Key, Payload, Allocator> m_nodes;
    std::vector<std::size_t, typename std::allocator_traits<Allocator>::template rebind_alloc<std::size_t>> m_weights;
    slot_array m_spare_pins; // for the next `pinned`
    std::size_t m_size = 0;
    std::size_t m_bound;
    std::size_t m_weight = 0;
    std::size_t m_weight_bound = unbounded;
    std::size_t m_passes = 0;
    bool m_numbers_taken = false;
    std::uint64_t m_generation = 0;
    std::uint64_t m_fetched = 0;
    std::size_t m_largest = 0;
};

} // namespace memoized_prefetch
