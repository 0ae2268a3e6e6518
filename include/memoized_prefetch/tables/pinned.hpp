/// pinned: pins the entries of a table that one chunk needs. Its destructor ends the pins and trims the table to its
/// bound.
#pragma once

#include <memoized_prefetch/tables/recency_table.hpp>

#include <cstddef>
#include <utility>

namespace memoized_prefetch {

template <class Table>
class pinned {
public:
    explicit pinned(Table& table) noexcept : m_table(&table), m_slots(std::move(table.m_spare_pins)) {
        ++m_table->m_passes;
    }
    pinned(const pinned&) = delete;
    pinned& operator=(const pinned&) = delete;
    pinned(pinned&&) = delete;
    pinned& operator=(pinned&&) = delete;
    ~pinned() {
        release();
        --m_table->m_passes;
        m_table->shrink();
        if (m_slots.capacity() > m_table->m_spare_pins.capacity() && m_slots.capacity() <= most_kept) {
            std::swap(m_table->m_spare_pins, m_slots);
        }
    }

    /// Makes room for `count` more pins.
    void reserve_more(std::size_t count) { m_slots.reserve(m_slots.size() + count); }
    /// Needs room from `reserve_more`.
    void add(slot_id slot) noexcept {
        m_slots.append(slot);
        m_table->pin(slot);
    }
    /// Takes over a pin that the caller has already made. Needs room as well.
    void add_pinned(slot_id slot) noexcept { m_slots.append(slot); }
    [[nodiscard]] Table& table() const noexcept { return *m_table; }

    /// Ends all pins and leaves the rest to `release`.
    void unpin() noexcept {
        for (const slot_id slot : m_slots) {
            m_table->unpin(slot);
        }
        m_slots.clear();
    }

    /// Ends all pins, trims the table and releases what left it. Returns how many entries were evicted.
    std::size_t release() noexcept {
        unpin();
        const std::size_t evicted = m_table->trim();
        m_table->reclaim();
        return evicted;
    }

private:
    Table* m_table;
    typename Table::slot_array m_slots;
};

} // namespace memoized_prefetch
