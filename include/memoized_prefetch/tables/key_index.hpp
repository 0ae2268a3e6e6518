/// key_index: an open-addressing hash index from keys to 32-bit ids.
///
///   cells   | tag id | tag id |  -  -  | tag id | ...      8 bytes a cell, a power of two of them, 8 to a cache line
///               |
///               +--> the owner's own dense array of keys and values
///
/// The index stores no keys. The owner keeps them in a dense array and passes an equality on ids. A cell holds a 32-bit
/// tag, the mixed hash, which gives the home cell; from there the search probes linearly. Deletion shifts cells back.
/// So there are no tombstones, and the cost never depends on what was deleted before. At most 3/4 of the cells are
/// used.
///
/// An equality may run foreign code that changes the index being searched: a Python `__eq__` that processes another
/// chunk. `find` notices this by the version and starts again, as CPython's dict does.
///
/// Whoever chooses the keys can make them share one tag, or have neighbouring homes. A search then passes all of them.
/// `crowded` detects this, so that a table can drop the entries it added there when the chunk ends.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// Position of an entry in a dense array; `no_slot` is none.
using slot_id = std::uint32_t;
inline constexpr slot_id no_slot = 0xFFFF'FFFFU;

template <class Allocator = std::allocator<std::byte>>
class key_index {
    struct cell {
        std::uint32_t tag = 0;
        slot_id id = no_slot;
    };
    using cell_vector = std::vector<cell, typename std::allocator_traits<Allocator>::template rebind_alloc<cell>>;

public:
    /// The part of a hash that the index needs. Owners store it: removing a key must not hash it again, which may
    /// throw.
    ///
    /// The hash of an integer is the integer, in C++ and in Python. Consecutive keys are often asked for together, so
    /// eight of them share a cache line of cells. The lowest three bits choose the cell in the line, rotated by mixed
    /// bits, so that multiples of eight do not all take the same one. The other bits choose the line; they are mixed
    /// from the hash without its lowest three.
    [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) noexcept {
        std::uint64_t line = hash >> 3U;
        line ^= line >> 32U;
        const auto mixed = static_cast<std::uint32_t>((line * 0x9E37'79B9'7F4A'7C15U) >> 32U);
        return (mixed & ~7U) | ((static_cast<std::uint32_t>(hash) + (mixed >> 3U)) & 7U);
    }

    /// The id under `tag` for which `equal(id)` holds, else `no_slot`. What `equal` throws passes through.
    template <class Equal>
    [[nodiscard]] slot_id find(std::uint32_t tag, Equal&& equal) const {
    restart:
        if (m_cells.empty()) {
            return no_slot;
        }
        const std::uint64_t seen = m_version;
        for (std::size_t at = home_of(tag);; at = next(at)) {
            const cell here = m_cells[at];
            if (here.id == no_slot) {
                return no_slot;
            }
            if (here.tag != tag) {
                continue;
            }
            const bool same = equal(here.id);
            if (m_version != seen) {
                goto restart; // the cell just compared may have changed
            }
            if (same) {
                return here.id;
            }
        }
    }

    /// The cell where the search for a tag begins. Starts to load it. Valid until the index changes.
    [[nodiscard]] std::size_t prefetch(std::uint32_t tag) const noexcept {
        const std::size_t home = home_of(tag) & m_mask; // masked for an index without cells
        detail::prefetch_to_read(m_cells.data() + home);
        return home;
    }
    /// The first id under `tag`. It is nearly always the one that `find` returns: one in four billion pairs of keys
    /// shares a tag.
    [[nodiscard]] slot_id candidate(std::uint32_t tag, std::size_t home) const noexcept {
        if (m_cells.empty()) {
            return no_slot;
        }
        cell here = m_cells[home];
        // One branch on where the search ends, none on its outcome: whether a key is there is unpredictable.
        while ((unsigned{here.id == no_slot} | unsigned{here.tag == tag}) == 0U) {
            home = next(home);
            here = m_cells[home];
        }
        return here.id;
    }

    /// Makes room for `count` ids in all; nothing is changed when it throws.
    void reserve(std::size_t count) {
        if (count * 4 <= m_cells.size() * 3) {
            return;
        }
        rebuild(std::bit_ceil(std::max<std::size_t>(count + count / 3 + 2, 8)));
    }

    /// Up to this many ids of one tag are normal: four billion random keys have no more, ten million evenly spaced ones
    /// have three.
    static constexpr std::size_t most_alike = 16;
    /// A place counts as crowded when reaching it passes this many cells, which takes as long as fetching a row. Random
    /// keys pass a few hundred at most.
    static constexpr std::size_t farthest = 8'192;

    /// Adds a new id. Needs room from `reserve`. Returns its place.
    std::size_t insert(std::uint32_t tag, slot_id id) noexcept {
        assert((m_count + 1) * 4 <= m_cells.size() * 3 + 3);
        ++m_count;
        ++m_version;
        return place(m_cells, {tag, id});
    }
    /// Whether the place where an id was inserted is crowded.
    [[nodiscard]] bool crowded(std::uint32_t tag, std::size_t place) const noexcept {
        const std::size_t passed = (place - home_of(tag)) & m_mask;
        return passed >= most_alike && (passed >= farthest || alike(tag, passed) >= most_alike);
    }

    /// Removes an id that is there.
    void erase(std::uint32_t tag, slot_id id) noexcept {
        std::size_t hole = home_of(tag);
        while (m_cells[hole].id != id) {
            assert(m_cells[hole].id != no_slot);
            hole = next(hole);
        }
        for (std::size_t at = next(hole); m_cells[at].id != no_slot; at = next(at)) {
            const std::size_t home = home_of(m_cells[at].tag);
            // A cell may move back into the hole unless its home lies behind the hole.
            if (((at - home) & m_mask) >= ((at - hole) & m_mask)) {
                m_cells[hole] = m_cells[at];
                hole = at;
            }
        }
        m_cells[hole] = {};
        --m_count;
        ++m_version;
    }

    /// Removes all ids and keeps the room.
    void erase_all() noexcept {
        std::fill(m_cells.begin(), m_cells.end(), cell{});
        m_count = 0;
        ++m_version;
    }

    void clear() noexcept {
        cell_vector{}.swap(m_cells);
        m_count = 0;
        ++m_version;
    }

    /// Replaces the ids by those of another index.
    void replace(key_index&& by) noexcept {
        const std::uint64_t version = m_version + by.m_version;
        *this = std::move(by);
        m_version = version + 1;
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_count; }
    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept { return m_cells.capacity() * sizeof(cell); }
    /// Changes with every insertion and removal.
    [[nodiscard]] std::uint64_t version() const noexcept { return m_version; }

private:
    [[nodiscard]] std::size_t home_of(std::uint32_t tag) const noexcept { return (tag >> m_shift & ~7U) | (tag & 7U); }
    [[nodiscard]] std::size_t next(std::size_t at) const noexcept { return (at + 1) & m_mask; }

    /// Counts the cells of the tag among the `cells` first ones from its home on.
    [[nodiscard]] MEMOIZED_PREFETCH_NOINLINE std::size_t alike(std::uint32_t tag, std::size_t cells) const noexcept {
        std::size_t count = 0;
        for (std::size_t at = home_of(tag); cells > 0; --cells, at = next(at)) {
            count += m_cells[at].tag == tag ? 1U : 0U;
        }
        return count;
    }

    std::size_t place(cell_vector& cells, cell added) const noexcept {
        const std::size_t wrap = cells.size() - 1;
        std::size_t at = home_of(added.tag);
        while (cells[at].id != no_slot) {
            at = (at + 1) & wrap;
        }
        cells[at] = added;
        return at;
    }

    void rebuild(std::size_t size) {
        cell_vector fresh(size);
        m_shift = 32U - static_cast<unsigned>(std::countr_zero(size));
        m_mask = size - 1;
        for (const cell& old : m_cells) {
            if (old.id != no_slot) {
                place(fresh, old);
            }
        }
        m_cells.swap(fresh);
        ++m_version;
    }

    cell_vector m_cells;
    std::size_t m_mask = 0; // number of cells minus one
    std::size_t m_count = 0;
    std::uint64_t m_version = 0;
    unsigned m_shift = 29;
};

} // namespace memoized_prefetch
