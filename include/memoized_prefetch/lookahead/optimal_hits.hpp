/// optimal_hits: how many keys a table of a given size finds if it knows the future (Belady's optimum).
///
/// A key that is used in chunk a and again in chunk b is found in b if it was kept at the ends of the chunks a, a + 1,
/// ..., b - 1. So each reuse is an interval of chunk ends, and a table of n entries keeps any set of intervals of which
/// at most n overlap anywhere. The largest such set is found greedily: take the intervals in the order of their ends,
/// of those with one end the shortest first, and keep each that still fits (Carlisle and Lloyd, 1995). The future is
/// not needed: one pass forward does it.
///
///   chunk end    0   1   2   3
///   key 7        o-------o         kept: found in chunk 2
///   key 3            o-------o     with n = 1 it does not fit: not found in chunk 3
///   key 5                    o     never used again: never kept
///
/// `m_most` is a segment tree: how many kept intervals overlap at each chunk end, and the most of every range. An
/// interval costs O(log chunks).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace memoized_prefetch {

class optimal_hits {
public:
    /// `kept`: the size of the table. `chunks`: at least the number of chunks.
    optimal_hits(std::size_t kept, std::size_t chunks)
        : m_kept(kept), m_leaves(std::bit_ceil(std::max<std::size_t>(chunks, 1))), m_most(2 * m_leaves),
          m_added(2 * m_leaves) {}

    /// Ends chunk number `chunk`. `before`: for every key of it that was used before, once, the chunk of the use before.
    /// Sorts them.
    void end_chunk(std::size_t chunk, std::span<std::uint32_t> before) {
        if (m_kept == 0) {
            return;
        }
        std::sort(before.begin(), before.end(), std::greater<>());
        for (const std::uint32_t since : before) {
            if (most(since, chunk) < m_kept) {
                add(since, chunk);
                ++m_found;
            }
        }
    }

    /// Keys found so far, counted once per chunk.
    [[nodiscard]] std::uint64_t found() const noexcept { return m_found; }
    /// The size of the table.
    [[nodiscard]] std::size_t kept() const noexcept { return m_kept; }

private:
    /// Calls `visit` for the nodes that together make up the chunk ends [first, last).
    template <class Visit>
    void cover(std::size_t first, std::size_t last, Visit&& visit) const {
        for (first += m_leaves, last += m_leaves; first < last; first /= 2, last /= 2) {
            if (first % 2 == 1) {
                visit(first++);
            }
            if (last % 2 == 1) {
                visit(--last);
            }
        }
    }
    /// The most intervals that overlap at one of the chunk ends [first, last).
    [[nodiscard]] std::uint64_t most(std::size_t first, std::size_t last) const {
        std::uint64_t found = 0;
        cover(first, last, [&](std::size_t node) {
            std::uint64_t here = m_most[node];
            for (std::size_t above = node / 2; above > 0; above /= 2) {
                here += m_added[above];
            }
            found = std::max(found, here);
        });
        return found;
    }
    void add(std::size_t first, std::size_t last) {
        cover(first, last, [&](std::size_t node) {
            ++m_most[node];
            ++m_added[node];
        });
        renew_above(first + m_leaves);
        renew_above(last - 1 + m_leaves);
    }
    void renew_above(std::size_t node) {
        for (node /= 2; node > 0; node /= 2) {
            m_most[node] = std::max(m_most[2 * node], m_most[2 * node + 1]) + m_added[node];
        }
    }

    std::size_t m_kept;
    std::size_t m_leaves;               // a power of two
    std::vector<std::uint64_t> m_most;  // by node: without what was added to the nodes above it
    std::vector<std::uint64_t> m_added; // by node: to all chunk ends below it
    std::uint64_t m_found = 0;
};

} // namespace memoized_prefetch
