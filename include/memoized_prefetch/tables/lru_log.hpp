/// lru_log: entries in the order of their last use, written as a log.
///
///   m_places, oldest first:  [ 7 | 3 | . | 9 | . | . | 3' ...    entries; each stands where its last use was written
///   m_live, a bit a place:     1   0   0   1   0   0   1         `m_next` is the first free place
///
/// A use leaves the entry's place and takes the next one. When seven eighths of the places are taken, a sweep begins:
/// with every fourth use it moves what is live in the next 64 places to the front, in order, and when it has come to
/// the end, all is in front. So a use costs O(1), each time, and about as many entries are moved as are used: with a
/// sweep that begins at three quarters and goes half as fast, and without `take_back`, resolving a key took 77 ns
/// instead of 69 in a million entries that are asked for at random, and 112 instead of 91 in a scan of twice as many
/// rows as they hold.
///
///   0 ... m_to          swept, without gaps
///   64 * m_from ...     still to be swept         none is live in between
///
/// In place of a doubly linked list: a use writes to the end of the log instead of to two neighbours anywhere in
/// memory, and who is next to be evicted is known ahead, so that the memory of many can be loaded at once. With a
/// million entries asked for by Zipf's law, resolving a key took 52 ns instead of 57; elsewhere there was no difference
/// beyond what runs differ by.
#pragma once

#include <memoized_prefetch/tables/key_index.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Allocator = std::allocator<std::byte>>
class lru_log {
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>>;

public:
    using place_id = std::uint32_t;
    static constexpr place_id nowhere = 0xFFFF'FFFFU;

    /// Makes room for `count` entries; nothing is changed when it throws.
    void reserve(std::size_t count) {
        const std::size_t places = 2 * count + word_bits; // at least half of them are gaps: see `sweep`
        if (places <= capacity()) {
            return;
        }
        const std::size_t words = std::max(places, capacity() + capacity() / 8) / word_bits + 1;
        m_places.reserve(words * word_bits); // else it would double
        m_live.reserve(words);
        m_places.resize(words * word_bits);
        m_live.resize(words); // last: it tells the capacity
    }
    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_places.capacity() * sizeof(slot_id) + m_live.capacity() * sizeof(word);
    }

    /// The entry is the newest one. `entries`: `move(entry, place)` is told of those that get another place, and
    /// `load(entry)` some time before of those that may.
    template <class Entries>
    place_id append(slot_id entry, Entries&& entries) noexcept {
        if (m_next % uses_per_word == 0 && (m_sweeping || m_next >= capacity() / 8 * 7)) {
            sweep(entries);
        }
        assert(m_next < capacity());
        const place_id place = m_next++;
        m_places[place] = entry;
        m_live[place / word_bits] |= bit_of(place);
        return place;
    }
    void leave(place_id place) noexcept {
        assert(is_live(place));
        m_live[place / word_bits] &= ~bit_of(place);
    }
    /// Takes back the newest places, as far as all of them were left. Entries that were just added and leave before
    /// they are written again do not use up two places then.
    void take_back() noexcept {
        const std::size_t first = m_sweeping ? m_from : 0; // what a sweep has passed is not written to
        std::size_t words = (m_next + word_bits - 1) / word_bits;
        while (words > first && m_live[words - 1] == 0) {
            --words;
        }
        m_next = static_cast<place_id>(words * word_bits);
        if (words > first) {
            m_next -= static_cast<place_id>(std::countl_zero(m_live[words - 1]));
        }
        m_oldest = std::min(m_oldest, m_next);
    }
    [[nodiscard]] slot_id operator[](place_id place) const noexcept { return m_places[place]; }
    [[nodiscard]] bool is_live(place_id place) const noexcept {
        return place < m_next && (m_live[place / word_bits] & bit_of(place)) != 0;
    }
    /// The first live place, and the live ones next to a place in both directions; `nowhere` behind the ends.
    [[nodiscard]] place_id oldest() noexcept {
        const place_id first = from(m_oldest);
        m_oldest = first == nowhere ? m_next : first;
        return first;
    }
    [[nodiscard]] place_id newer(place_id place) const noexcept { return from(place + 1); }
    [[nodiscard]] place_id newest() const noexcept { return older(m_next); }
    [[nodiscard]] place_id older(place_id place) const noexcept {
        std::size_t at = place / word_bits;
        word bits = at < m_live.size() ? m_live[at] & (bit_of(place) - 1) : 0;
        while (bits == 0) {
            if (at == 0) {
                return nowhere;
            }
            bits = m_live[--at];
        }
        return static_cast<place_id>(at * word_bits) + static_cast<place_id>(std::bit_width(bits)) - 1;
    }
    /// Live places. O(places).
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t count = 0;
        for (const word bits : m_live) {
            count += static_cast<std::size_t>(std::popcount(bits));
        }
        return count;
    }

private:
    using word = std::uint64_t;
    static constexpr std::size_t word_bits = 64;
    /// So few that a sweep, which begins at 7/8 of the places, ends before 7/8 * 16/15 of them are taken.
    static constexpr std::size_t uses_per_word = 4;

    [[nodiscard]] static word bit_of(place_id place) noexcept { return word{1} << (place % word_bits); }
    [[nodiscard]] std::size_t capacity() const noexcept { return m_live.size() * word_bits; }
    /// By words, as each is a loop over the bits that are set: place by place, whose branches nothing foretells,
    /// resolving a key took half as long again.
    template <class Entries>
    [[gnu::noinline]] void sweep(Entries& entries) noexcept {
        if (!m_sweeping) {
            m_sweeping = true;
            m_to = 0;
            m_from = m_oldest / word_bits;
        }
        const place_id first = m_to;
        const word live = std::exchange(m_live[m_from], 0);
        for_bits(m_from, live, [&](place_id place) {
            m_places[m_to] = m_places[place];
            entries.move(m_places[m_to], m_to);
            ++m_to;
        });
        set_live(first, m_to);
        m_oldest = live != 0 ? std::min(m_oldest, first) : m_oldest;
        ++m_from;
        if (m_from * word_bits >= m_next) {
            m_next = m_to;
            m_oldest = std::min(m_oldest, m_next);
            m_sweeping = false;
            return;
        }
        for_bits(m_from, m_live[m_from], [&](place_id place) { entries.load(m_places[place]); });
    }
    [[nodiscard]] place_id from(place_id place) const noexcept {
        std::size_t at = place / word_bits;
        if (at >= m_live.size()) {
            return nowhere;
        }
        word bits = m_live[at] & ~(bit_of(place) - 1);
        while (bits == 0) {
            if (++at * word_bits >= m_next) {
                return nowhere;
            }
            bits = m_live[at];
        }
        return static_cast<place_id>(at * word_bits) + static_cast<place_id>(std::countr_zero(bits));
    }
    template <class Visit>
    static void for_bits(std::size_t at, word bits, Visit&& visit) noexcept {
        for (; bits != 0; bits &= bits - 1) {
            visit(static_cast<place_id>(at * word_bits) + static_cast<place_id>(std::countr_zero(bits)));
        }
    }
    void set_live(std::size_t begin, std::size_t end) noexcept {
        while (begin < end) {
            const std::size_t first = begin % word_bits;
            const std::size_t count = std::min(word_bits - first, end - begin);
            m_live[begin / word_bits] |= (count == word_bits ? ~word{0} : (word{1} << count) - 1) << first;
            begin += count;
        }
    }

    vector_of<slot_id> m_places;
    vector_of<word> m_live; // all zero from m_next on
    place_id m_next = 0;
    place_id m_oldest = 0;  // none is live before
    std::size_t m_from = 0; // the next word to be swept
    place_id m_to = 0;
    bool m_sweeping = false;
};

} // namespace memoized_prefetch
