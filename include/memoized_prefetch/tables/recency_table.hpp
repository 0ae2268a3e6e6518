/// recency_table: what memo_table and link_table have in common: keys in a dense array, found by hash, kept in the order
/// of their last use, pinned by running chunks, and bounded.
///
///   m_index --> m_nodes: [ key | payload | place | tag | number | pins | mark | state ]      stay where they are
///                                            |
///   m_order: oldest ... newest  <------------+                         of those in the table
///                             buried --> buried                  taken out, still to be released
///                             vacant --> vacant                  free for the next entry
///
/// Invariants, outside of the functions below:
///  - a `living` node is in the index and in the order of use, and m_size counts them;
///  - a `detached` node is in neither: it was erased while pinned, keeps its value until the last pin goes, then is buried;
///  - a `buried` node waits for `release_buried`, which destroys keys and values one at a time, each after it has been
///    moved out. Destroying one may run any code, which finds the table whole and may use it;
///  - more than `bound()` entries live only while chunks pin them, until `trim`;
///  - an entry that was added where the index was crowded lives no longer than its pins. So a search compares with 16 keys and
///    passes 8,192 cells at most beside those of running chunks, also when somebody chooses keys that all hash alike.
///
/// Costs: find, add, use, pin, erase and the eviction of one entry O(1); trim also passes the pinned entries that are
/// older than what it evicts. Nothing is allocated but by `reserve_more`, and by `use` and `load` where memory may be short.
///
/// `Derived` provides `void release_payload(slot_id) noexcept`, which takes the payload of a buried node out and lets it go.
#pragma once

#include <memoized_prefetch/tables/key_index.hpp>
#include <memoized_prefetch/tables/key_traits.hpp>
#include <memoized_prefetch/tables/roomy_array.hpp>
#include <memoized_prefetch/tables/stable_array.hpp>
#include <memoized_prefetch/tables/stack_distances.hpp>
#include <memoized_prefetch/tables/use_order.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Table>
class pinned;

inline constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

/// A chunk's working memory is kept for the next one, unless the chunk had more keys than this: then allocating it anew is
/// nothing beside the chunk itself, and it would be much to keep.
inline constexpr std::size_t most_kept = 16'384;

template <class Derived, class Key, class Payload, class Traits, class Allocator>
class recency_table {
public:
    using key_type = Key;
    using traits_type = Traits;
    using allocator_type = Allocator;

    recency_table(const recency_table&) = delete;
    recency_table& operator=(const recency_table&) = delete;
    recency_table(recency_table&&) = delete;
    recency_table& operator=(recency_table&&) = delete;

    /// Entries living in the table, absences and pinned ones included.
    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    /// The size that `trim` re-establishes; `unbounded` for none.
    [[nodiscard]] std::size_t bound() const noexcept { return m_bound; }
    /// Takes effect at the next `trim`.
    void set_bound(std::size_t bound) noexcept { m_bound = bound; }

    /// Bounds the sum of the entries' weights too. Before the first entry; from then on every one is to be weighed.
    void set_weight_bound(std::size_t bound) noexcept { m_weight_bound = bound; }
    [[nodiscard]] std::size_t weight_bound() const noexcept { return m_weight_bound; }
    [[nodiscard]] bool weighs() const noexcept { return m_weight_bound != unbounded; }
    /// What a living entry weighs, told once. Does nothing unless the table weighs.
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
    /// Changes when what was remembered was declared out of date: rows fetched before must not be admitted.
    [[nodiscard]] std::uint64_t generation() const noexcept { return m_generation; }
    void next_generation() noexcept { ++m_generation; }

    /// The living entry under `key`, or `no_slot`. Is no use: the order stays as it is.
    [[nodiscard]] slot_id find(const Key& key) const { return find(key, tag_of(key)); }
    [[nodiscard]] slot_id find(const Key& key, std::uint32_t tag) const {
        return m_index.find(tag, [&](slot_id slot) { return Traits::equal(m_nodes[slot].key, key); });
    }
    /// The hash of a key as the table keeps it. The only function here that hashes.
    [[nodiscard]] static std::uint32_t tag_of(const Key& key) {
        return key_index<Allocator>::tag_of(Traits::hash(key));
    }

    /// Looks up many keys, a batch of them at once: loads the batch's cells, then its nodes, and only then compares. In a table
    /// of a million that takes a quarter off a look-up; loading ahead in the same way for `use` was no gain.
    /// `tags`: the keys' hashes. Calls `found(at, slots, nodes)` for some keys after another, beginning with the one at `at`:
    /// their entries, `no_slot` and any node for those that are not there. `found` must not change the table; comparing may.
    template <class Found>
    void find_all(std::span<const Key> keys, std::span<const std::uint32_t> tags, Found&& found) {
        constexpr std::size_t batch = 16;     // about as many loads as a core has under way
        std::array<std::size_t, batch> homes; // NOLINT(*-member-init): written before read, as the next
        std::array<slot_id, batch> slots;     // NOLINT(*-member-init)
        std::array<node*, batch> nodes;       // NOLINT(*-member-init)
        node nobody;                          // so that nothing branches on whether a key is there
        const auto prefetch = [&](std::size_t begin) {
            for (std::size_t at = 0; at < std::min(batch, tags.size() - begin); ++at) {
                homes[at] = m_index.prefetch(tags[begin + at]);
            }
        };
        prefetch(0);
        std::uint64_t seen = version();
        for (std::size_t begin = 0; begin < tags.size(); begin += batch) {
            const std::size_t count = std::min(batch, tags.size() - begin);
            if (version() != seen) [[unlikely]] {
                prefetch(begin);
                seen = version();
            }
            for (std::size_t at = 0; at < count; ++at) {
                const slot_id slot = m_index.candidate(tags[begin + at], homes[at]);
                slots[at] = slot;
                nodes[at] = slot == no_slot ? &nobody : &m_nodes[slot];
                __builtin_prefetch(nodes[at]); // it may lie on two cache lines
                __builtin_prefetch(&nodes[at]->tag);
            }
            if (begin + count < tags.size()) {
                prefetch(begin + count);
            }
            bool same = true;
            for (std::size_t at = 0; at < count; ++at) {
                if constexpr (compares_plainly && std::is_scalar_v<Key>) {
                    // A key that is not there is compared with itself: users' functions get none but keys that they gave.
                    // By two addresses, as a branch on whether it is there costs 4 ns per key where half of them are.
                    const std::array<const Key*, 2> stored{&nodes[at]->key, &keys[begin + at]};
                    same &= Traits::equal(*stored[unsigned{slots[at] == no_slot}], keys[begin + at]);
                } else {
                    same = same && (slots[at] == no_slot || Traits::equal(nodes[at]->key, keys[begin + at]));
                }
                if constexpr (!compares_plainly) {
                    same = same && version() == seen;
                }
            }
            if (same) [[likely]] {
                found(begin, std::span<const slot_id>(slots.data(), count),
                      std::span<node* const>(nodes.data(), count));
                continue;
            }
            // Two keys share a tag, or comparing has changed the table, and the candidates are another one's: one by one.
            for (std::size_t at = begin; at < begin + count; ++at) {
                slots[0] = find(keys[at], tags[at]);
                nodes[0] = slots[0] == no_slot ? &nobody : &m_nodes[slots[0]];
                found(at, std::span<const slot_id>(slots.data(), 1), std::span<node* const>(nodes.data(), 1));
            }
        }
    }

    [[nodiscard]] const Key& key(slot_id slot) const noexcept { return m_nodes[slot].key; }
    [[nodiscard]] bool living(slot_id slot) const noexcept { return m_nodes[slot].state == node_state::living; }
    /// Whether the entry lives no longer than its pins.
    [[nodiscard]] bool leaves(slot_id slot) const noexcept { return m_nodes[slot].leaves; }
    [[nodiscard]] std::uint32_t pins(slot_id slot) const noexcept { return m_nodes[slot].pins; }
    /// The neighbours in the order of use; `no_slot` behind the ends.
    [[nodiscard]] slot_id newest() const noexcept { return entry_at(m_order.newest()); }
    [[nodiscard]] slot_id older(slot_id slot) const noexcept { return entry_at(m_order.older(m_nodes[slot].place)); }

    /// Bytes allocated for entries and their index; what keys and values refer to is not counted.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_nodes.bytes() + m_weights.capacity() * sizeof(std::size_t) + m_index.bytes() + m_order.bytes();
    }
    /// From now on `distances` is told of every use. Without it they only know which keys were fetched again, and a hit costs
    /// nothing for them: that took 10 cycles per use, and a fifth of the instructions of a key, in a table of a thousand.
    void measure_distances() noexcept { m_distances.measure(); }
    /// What tables of other sizes would have fetched.
    [[nodiscard]] const stack_distances<Allocator>& distances() const noexcept { return m_distances; }
    /// Uses of keys that were not in the table.
    [[nodiscard]] std::uint64_t fetched() const noexcept { return m_fetched; }
    /// The most entries that `trim` ever left: with this bound the table would have held the same.
    [[nodiscard]] std::size_t largest() const noexcept { return m_largest; }

    /// A chunk uses the entry: it becomes the most recently used one.
    void use(slot_id slot) noexcept {
        node& entry = m_nodes[slot];
        if (entry.state != node_state::living) {
            return;
        }
        if (m_distances.measures()) {
            measure(slot);
        }
        m_order.leave(entry.place);
        entry.place = m_order.append(slot, ordered{*this});
    }
    /// A chunk uses these entries, the last one first; what is no entry is passed over.
    void use_all(std::span<const slot_id> newest_first) noexcept {
        if (m_distances.measures()) {
            for (std::size_t left = newest_first.size(); left-- > 0;) {
                measure(newest_first[left]);
            }
        }
        // All leave before the first is written again: so those that the chunk has added do not take two places.
        for (const slot_id slot : newest_first) {
            if (is_entry(slot) && m_nodes[slot].place != m_order.nowhere) {
                m_order.leave(std::exchange(m_nodes[slot].place, m_order.nowhere));
            }
        }
        m_order.take_back();
        for (std::size_t left = newest_first.size(); left-- > 0;) {
            const slot_id slot = newest_first[left];
            if (is_entry(slot)) {
                if (m_nodes[slot].place != m_order.nowhere) { // it is there twice
                    m_order.leave(m_nodes[slot].place);
                }
                m_nodes[slot].place = m_order.append(slot, ordered{*this});
            }
        }
    }
    /// The entry was fetched by the chunk that is about to use it; `no_slot`: it was not added.
    void fetched(slot_id slot) noexcept {
        ++m_fetched;
        if (slot == no_slot) {
            return;
        }
        if (const std::uint32_t tag = m_nodes[slot].tag; m_distances.takes(tag)) {
            m_distances.fetch(tag);
        }
    }
    /// The entry was added without being asked for, and stays however crowded it is.
    void loaded(slot_id slot) noexcept {
        m_nodes[slot].leaves = false;
        if (m_distances.takes(m_nodes[slot].tag)) {
            m_distances.load(m_nodes[slot].tag);
        }
    }
    /// Takes out an entry that is out of date. See `erase`.
    void forget(slot_id slot) noexcept {
        m_distances.forget(m_nodes[slot].tag);
        erase(slot);
    }
    /// The same by key, which may also be that of an entry that was evicted.
    void forget_key(const Key& key) {
        const std::uint32_t tag = tag_of(key);
        const slot_id slot = find(key, tag);
        m_distances.forget(tag);
        if (slot != no_slot) {
            erase(slot);
        }
    }

    /// For one running chunk at a time: whether it may number entries, until it gives that back with those that it numbered.
    [[nodiscard]] bool take_numbers() noexcept { return !std::exchange(m_numbers_taken, true); }
    void give_numbers_back() noexcept { m_numbers_taken = false; }
    void drop_number(slot_id slot) noexcept { m_nodes[slot].number = 0; }

    /// A pinned entry stays, whatever the bound, and its value stays even when it is erased.
    void pin(slot_id slot) noexcept { pin(m_nodes[slot], 1); }
    /// The same of an entry that `find_all` gave; `times` may be 0.
    template <class Node>
    static void pin(Node& entry, std::uint32_t times) noexcept {
        entry.pins = (entry.pins + times) & 0x7FF'FFFFU; // all of its bits
    }

    /// Ends one pin. What becomes free is only buried: follow with `trim` and `release_buried`.
    void unpin(slot_id slot) noexcept {
        node& entry = m_nodes[slot];
        assert(entry.pins > 0);
        if (--entry.pins == 0 && entry.leaves) [[unlikely]] {
            let_go(slot);
        }
    }

    /// Takes an entry out of the table. Its value waits for `release_buried`, or for its last pin.
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
            bury(slot);
        }
    }

    /// Evicts the least recently used entries that nobody pins until the bound holds, if it can. Returns how many.
    std::size_t trim() noexcept {
        std::size_t evicted = 0;
        std::array<slot_id, 16> oldest; // NOLINT(*-member-init): written before read
        for (auto place = m_order.oldest(); over_bound() && place != m_order.nowhere;) {
            // A batch at once, so that their memory is loaded at once, and not one after another.
            std::size_t count = 0;
            for (; count < oldest.size() && place != m_order.nowhere; place = m_order.newer(place)) {
                oldest[count] = m_order[place];
                prefetch_node(oldest[count++]);
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

    /// Forgets everything; pinned values live on until their pins end.
    void clear() noexcept {
        forget_all();
        release_buried();
    }
    /// The same, and leaves what is to be destroyed to `release_buried`.
    void forget_all() noexcept {
        next_generation();
        m_distances.forget_all();
        for (auto place = m_order.oldest(); place != m_order.nowhere; place = m_order.newer(place)) {
            erase(m_order[place]);
        }
    }

    /// Destroys what was evicted and erased. Runs foreign code when destructors do; the table is whole all the while.
    void release_buried() noexcept {
        while (m_buried != no_slot) {
            release_one([&](slot_id slot) { static_cast<Derived*>(this)->release_payload(slot); });
        }
    }

    /// Makes room for `count` more entries; nothing is changed when it throws.
    void reserve_more(std::size_t count) {
        m_index.reserve(m_size + count);
        m_nodes.reserve(m_nodes.size() + count - std::min(count, m_vacant_count));
        m_order.reserve(m_size + count);
        if (weighs()) {
            m_weights.resize(m_nodes.capacity());
        }
    }

    /// Every invariant above, checked in O(size). For tests and debugging.
    [[nodiscard]] bool consistent() const {
        std::size_t listed = 0;
        for (slot_id slot = newest(); slot != no_slot; slot = older(slot)) {
            if (!living(slot) || ++listed > m_nodes.size() || m_order[m_nodes[slot].place] != slot) {
                return false;
            }
            const slot_id found = m_index.find(m_nodes[slot].tag, [&](slot_id id) { return id == slot; });
            if (found != slot) {
                return false;
            }
        }
        std::size_t in_table = 0;
        std::size_t vacant = 0;
        for (std::size_t slot = 0; slot < m_nodes.size(); ++slot) {
            in_table += m_nodes[slot].state == node_state::living ? 1U : 0U;
            vacant += m_nodes[slot].state == node_state::vacant ? 1U : 0U;
        }
        std::size_t weight = 0;
        for (const std::size_t one : m_weights) {
            weight += one;
        }
        return m_order.size() == m_size && listed == m_size && in_table == m_size && m_index.size() == m_size &&
               vacant == m_vacant_count && weight == m_weight && m_distances.consistent();
    }

protected:
    enum class node_state : std::uint8_t { vacant, living, detached, buried, releasing };
    struct node {
        Key key{};
        Payload payload{};
        std::uint32_t place = 0; // in the order of use; the next node, on the lists of buried and of vacant ones
        std::uint32_t tag = 0;
        std::uint32_t number = 0; // given by a chunk, and one: see take_numbers
        std::uint32_t pins : 27 = 0;
        bool leaves : 1 = false; // with its last pin
        bool mark : 1 = false;   // the derived table's: of its own, it would take as much as a pointer
        node_state state : 3 = node_state::vacant;
    };

    explicit recency_table(std::size_t bound) noexcept : m_bound(bound) {}
    ~recency_table() = default;

    /// Adds an entry, the most recently used one, under a key that is not there. Needs the room of `reserve_more`.
    slot_id add(Key key, std::uint32_t tag, Payload payload, bool mark = false) noexcept {
        slot_id slot = m_vacant;
        if (slot != no_slot) {
            m_vacant = m_nodes[slot].place;
            --m_vacant_count;
        } else {
            slot = static_cast<slot_id>(m_nodes.size());
            m_nodes.emplace_back(); // within the capacity
        }
        node& entry = m_nodes[slot];
        entry.key = std::move(key);
        entry.payload = std::move(payload);
        entry.tag = tag;
        entry.leaves = false;
        entry.mark = mark;
        entry.state = node_state::living;
        if (const std::size_t place = m_index.insert(tag, slot); m_index.crowded(tag, place)) [[unlikely]] {
            entry.leaves = true;
        }
        entry.place = m_order.append(slot, ordered{*this});
        ++m_size;
        return slot;
    }

    /// Releases one buried node, if there is one, by `release(slot)`, which takes its payload out.
    template <class Release>
    bool release_one(Release&& release) noexcept {
        if (m_buried == no_slot) {
            return false;
        }
        const slot_id slot = m_buried;
        m_buried = m_nodes[slot].place;
        m_nodes[slot].state = node_state::releasing;
        release(slot);
        [[maybe_unused]] const Key gone = std::exchange(m_nodes[slot].key, Key{});
        m_nodes[slot].state = node_state::vacant;
        m_nodes[slot].place = m_vacant;
        m_vacant = slot;
        ++m_vacant_count;
        return true;
    }

    [[nodiscard]] Payload& payload(slot_id slot) noexcept { return m_nodes[slot].payload; }
    [[nodiscard]] const Payload& payload(slot_id slot) const noexcept { return m_nodes[slot].payload; }
    [[nodiscard]] bool mark(slot_id slot) const noexcept { return m_nodes[slot].mark; }
    void set_mark(slot_id slot, bool mark) noexcept { m_nodes[slot].mark = mark; }

    /// Calls `visit(payload)` for every node that still has one.
    template <class Visit>
    void visit_payloads(Visit&& visit) {
        for (std::size_t slot = 0; slot < m_nodes.size(); ++slot) {
            if (m_nodes[slot].state != node_state::vacant) {
                visit(m_nodes[slot].payload);
            }
        }
    }
    template <class Visit>
    int visit_nodes(Visit&& visit) const {
        for (std::size_t slot = 0; slot < m_nodes.size(); ++slot) {
            if (m_nodes[slot].state != node_state::vacant) {
                if (const int stop = visit(m_nodes[slot].key, m_nodes[slot].payload)) {
                    return stop;
                }
            }
        }
        return 0;
    }

private:
    template <class>
    friend class pinned;
    using slot_array = roomy_array<slot_id, Allocator>;
    /// Comparing keys runs no code that could come back here.
    static constexpr bool compares_plainly =
        noexcept(Traits::equal(std::declval<const Key&>(), std::declval<const Key&>()));

    [[gnu::noinline]] void let_go(slot_id slot) noexcept { living(slot) ? erase(slot) : bury(slot); }
    void bury(slot_id slot) noexcept {
        m_nodes[slot].state = node_state::buried;
        m_nodes[slot].place = m_buried;
        m_buried = slot;
    }
    [[nodiscard]] bool is_entry(slot_id slot) const noexcept { return slot < m_nodes.size() && living(slot); }
    void measure(slot_id slot) noexcept {
        if (is_entry(slot) && m_distances.takes(m_nodes[slot].tag)) {
            m_distances.use(m_nodes[slot].tag);
        }
    }
    [[nodiscard]] bool over_bound() const noexcept { return m_size > m_bound || m_weight > m_weight_bound; }
    [[nodiscard]] slot_id entry_at(std::uint32_t place) const noexcept {
        return place == m_order.nowhere ? no_slot : m_order[place];
    }
    /// Nodes, as the order of use sees them.
    struct ordered {
        recency_table& table;
        void load(slot_id slot) const noexcept { __builtin_prefetch(&table.m_nodes[slot].place, 1); }
        void move(slot_id slot, std::uint32_t place) const noexcept { table.m_nodes[slot].place = place; }
    };
    /// It may lie on two cache lines.
    void prefetch_node(slot_id slot) const noexcept {
        const node* const at = &m_nodes[slot];
        __builtin_prefetch(at);
        __builtin_prefetch(&at->tag);
    }

    key_index<Allocator> m_index;
    use_order<Allocator> m_order;
    stack_distances<Allocator> m_distances;
    stable_array<node, Allocator> m_nodes;
    std::vector<std::size_t, typename std::allocator_traits<Allocator>::template rebind_alloc<std::size_t>> m_weights;
    slot_array m_spare_pins; // for the next one of `pinned`
    std::size_t m_size = 0;
    std::size_t m_bound;
    std::size_t m_weight = 0;
    std::size_t m_weight_bound = unbounded;
    std::size_t m_passes = 0;
    bool m_numbers_taken = false;
    std::size_t m_vacant_count = 0;
    std::uint64_t m_generation = 0;
    std::uint64_t m_fetched = 0;
    std::size_t m_largest = 0;
    slot_id m_buried = no_slot;
    slot_id m_vacant = no_slot;
};

} // namespace memoized_prefetch
