/// node_store: the nodes of a table. They keep their addresses, and are reused once their entry is gone. Only
/// recency_table::shrink moves them, to another store, while no chunk runs.
///
///   vacant --take--> living --> detached --> retired --reclaim_one--> releasing --> vacant
///
/// A retired node still holds its key and payload. `reclaim_one` moves them out of one node and destroys them. That may
/// run any code, which may use the table: it is consistent at that moment.
#pragma once

#include <memoized_prefetch/tables/key_index.hpp>
#include <memoized_prefetch/tables/stable_array.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace memoized_prefetch {

enum class node_state : std::uint8_t { vacant, living, detached, retired, releasing };

template <class Key, class Payload>
struct table_node {
    Key key{};
    Payload payload{};
    std::uint32_t place = 0; // in the LRU log; of retired and vacant nodes, the next node of their list
    std::uint32_t tag = 0;
    std::uint32_t number = 0; // given by a chunk, plus one; see recency_table::take_numbers
    std::uint32_t pins : 27 = 0;
    bool leaves : 1 = false; // when its last pin ends
    bool absent : 1 = false; // no such row: for memo_table; a separate bool would take as much as a pointer
    node_state state : 3 = node_state::vacant;
};

template <class Key, class Payload, class Allocator = std::allocator<std::byte>>
class node_store {
public:
    using node = table_node<Key, Payload>;

    [[nodiscard]] node& operator[](slot_id slot) noexcept { return m_nodes[slot]; }
    [[nodiscard]] const node& operator[](slot_id slot) const noexcept { return m_nodes[slot]; }
    /// Nodes of all states.
    [[nodiscard]] std::size_t size() const noexcept { return m_nodes.size(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return m_nodes.capacity(); }
    [[nodiscard]] std::size_t vacant() const noexcept { return m_vacant_count; }
    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept { return m_nodes.bytes(); }

    /// Makes room for `count` more nodes; nothing is changed when it throws.
    void reserve_more(std::size_t count) { m_nodes.reserve(m_nodes.size() + count - std::min(count, m_vacant_count)); }

    /// A vacant node, for the caller to fill. Needs the room of `reserve_more`.
    [[nodiscard]] slot_id take() noexcept {
        if (m_vacant == no_slot) {
            m_nodes.emplace_back(); // within the capacity
            return static_cast<slot_id>(m_nodes.size() - 1);
        }
        --m_vacant_count;
        return std::exchange(m_vacant, m_nodes[m_vacant].place);
    }

    void swap(node_store& other) noexcept {
        m_nodes.swap(other.m_nodes);
        std::swap(m_retired, other.m_retired);
        std::swap(m_vacant, other.m_vacant);
        std::swap(m_vacant_count, other.m_vacant_count);
    }

    void retire(slot_id slot) noexcept {
        m_nodes[slot].state = node_state::retired;
        m_nodes[slot].place = std::exchange(m_retired, slot);
    }

    /// Empties one retired node and makes it vacant; false when there is none. `release(slot)` takes the payload out.
    template <class Release>
    bool reclaim_one(Release&& release) noexcept {
        if (m_retired == no_slot) {
            return false;
        }
        const slot_id slot = m_retired;
        m_retired = m_nodes[slot].place;
        m_nodes[slot].state = node_state::releasing;
        release(slot);
        [[maybe_unused]] const Key gone = std::exchange(m_nodes[slot].key, Key{});
        m_nodes[slot].state = node_state::vacant;
        m_nodes[slot].place = std::exchange(m_vacant, slot);
        ++m_vacant_count;
        return true;
    }

    /// Calls `visit(node)` for every node that is not vacant, until it returns non-zero; returns that.
    template <class Visit>
    int visit(Visit&& visit) const {
        for (std::size_t slot = 0; slot < m_nodes.size(); ++slot) {
            if (m_nodes[slot].state != node_state::vacant) {
                if (const int stop = visit(m_nodes[slot])) {
                    return stop;
                }
            }
        }
        return 0;
    }
    template <class Visit>
    void visit(Visit&& visit) {
        for (std::size_t slot = 0; slot < m_nodes.size(); ++slot) {
            if (m_nodes[slot].state != node_state::vacant) {
                visit(m_nodes[slot]);
            }
        }
    }

private:
    stable_array<node, Allocator> m_nodes;
    slot_id m_retired = no_slot; // the first of each list
    slot_id m_vacant = no_slot;
    std::size_t m_vacant_count = 0;
};

} // namespace memoized_prefetch
