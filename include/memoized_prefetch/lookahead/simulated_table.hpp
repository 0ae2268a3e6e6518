/// simulated_table: a table of numbered keys without rows: what a memo of a given size would fetch.
///
/// The keys of a table are numbered from 0, so that arrays take the place of an index. Between chunks the most recently
/// used keys are kept, in a chunk all are, as in a memo.
///
///   m_newest --> 4 --> 0 --> 7 --> m_oldest      m_older, m_newer: by key
#pragma once

#include <memoized_prefetch/lookahead/optimal_hits.hpp>
#include <memoized_prefetch/tables/reuse_distances.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// The number of a key of one table. `no_key`: null.
using key_number = std::uint32_t;
inline constexpr key_number no_key = 0xFFFF'FFFFU;

class simulated_table {
public:
    /// `keys`: how many keys there are. `bound`: how many are kept between chunks. `measures`: whether to work out the
    /// miss-ratio curve, which takes two thirds of the time. `optima`: sizes for which the optimum is worked out too.
    simulated_table(std::size_t keys, std::size_t bound, std::size_t chunks, bool measures,
                    std::span<const std::size_t> optima)
        : m_bound(bound), m_older(keys, no_key), m_newer(keys, no_key), m_fetches(keys), m_used_in(keys, never) {
        if (measures) {
            m_distances.measure_all();
        }
        for (const std::size_t size : optima) {
            m_optima.emplace_back(size, chunks);
        }
    }

    /// The running chunk uses a key. Returns whether it has to be fetched.
    bool use(key_number key) {
        if (m_distances.measures()) {
            m_distances.use(key * 0x9E37'79B1U); // an odd factor: different keys have different tags
        }
        if (m_used_in[key] != m_chunk) {
            ++m_asked;
            if (m_used_in[key] != never && !m_optima.empty()) {
                m_before.push_back(m_used_in[key]);
            }
            m_used_in[key] = m_chunk;
        }
        const bool is_missing = !is_kept(key);
        if (is_missing) {
            ++m_fetched;
            ++m_fetches[key];
            ++m_size;
        } else {
            unlink(key);
        }
        link(key);
        return is_missing;
    }

    void end_chunk() {
        while (m_size > m_bound) {
            unlink(m_oldest);
            --m_size;
        }
        m_distances.end_chunk();
        for (optimal_hits& one : m_optima) {
            one.end_chunk(m_chunk, m_before);
        }
        m_before.clear();
        ++m_chunk;
    }

    /// How often a key was fetched so far: tells whether its row is still the one that was seen before.
    [[nodiscard]] std::uint32_t fetches(key_number key) const noexcept { return m_fetches[key]; }

    /// Keys used, once per chunk.
    [[nodiscard]] std::uint64_t asked() const noexcept { return m_asked; }
    /// Keys that were not in the table.
    [[nodiscard]] std::uint64_t fetched() const noexcept { return m_fetched; }
    /// The miss-ratio curve: what tables of other sizes would have found.
    [[nodiscard]] const reuse_distances<>& distances() const noexcept { return m_distances; }
    [[nodiscard]] std::span<const optimal_hits> optima() const noexcept { return m_optima; }

private:
    static constexpr std::uint32_t never = 0xFFFF'FFFFU;

    [[nodiscard]] bool is_kept(key_number key) const noexcept { return m_newer[key] != no_key || m_newest == key; }

    void link(key_number key) noexcept {
        m_older[key] = m_newest;
        (m_newest == no_key ? m_oldest : m_newer[m_newest]) = key;
        m_newest = key;
    }
    void unlink(key_number key) noexcept {
        const key_number older = std::exchange(m_older[key], no_key);
        const key_number newer = std::exchange(m_newer[key], no_key);
        (newer == no_key ? m_newest : m_older[newer]) = older;
        (older == no_key ? m_oldest : m_newer[older]) = newer;
    }

    std::size_t m_bound;
    std::vector<key_number> m_older;      // by key: its neighbour in the order of use
    std::vector<key_number> m_newer;      // by key
    std::vector<std::uint32_t> m_fetches; // by key
    std::vector<std::uint32_t> m_used_in; // by key: the chunk of its last use, or `never`
    std::vector<std::uint32_t> m_before;  // of the running chunk's keys: the chunks of their uses before
    std::vector<optimal_hits> m_optima;
    reuse_distances<> m_distances;
    key_number m_newest = no_key;
    key_number m_oldest = no_key;
    std::size_t m_size = 0;
    std::uint32_t m_chunk = 0;
    std::uint64_t m_asked = 0;
    std::uint64_t m_fetched = 0;
};

} // namespace memoized_prefetch
