/// lru_log: entries in the order of their last use, written as a log.
///
///   m_places, oldest first:  [ 7 | 3 | . | 9 | . | . | 3' ...    entries; each is where its last use was written
///   m_live, a bit a place:     1   0   0   1   0   0   1         `m_next` is the first free place
///
/// A use gives up the entry's place and takes the next one. When seven eighths of the places are taken, a sweep begins.
/// With every fourth use it moves the live entries of the next 64 places to the front, in order. When it has reached
/// the end, all entries are in front:
///
///   0 ... end           swept, without gaps
///   64 * from ...       still to be swept         no place between the two is live
///
/// So every single use costs O(1), and about as many entries are moved as are used. A sweep that begins at three
/// quarters and goes half as fast is slower, and so is one without `take_back`: resolving a key then took 77 ns instead
/// of 69 in a million entries asked for at random, and 112 instead of 91 in a scan of twice as many rows.
///
/// Why not a doubly linked list: the log knows which entries will be evicted next, so their memory can be loaded all at
/// once. A list finds them one after another. With a million entries of two million rows asked for at random, resolving
/// a key took 250 ns with the log and 320 to 410 with the list. Elsewhere there was no difference beyond noise.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/tables/bit_words.hpp>
#include <memoized_prefetch/tables/key_index.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
        const std::size_t places = 2 * count + word_bits; // a sweep needs gaps: see `uses_per_word`
        if (places <= capacity()) {
            return;
        }
        const std::size_t words = std::max(places, capacity() + capacity() / 8) / word_bits + 1;
        m_places.reserve(words * word_bits); // exact: resizing might double the room
        m_live.reserve(words);
        m_places.resize(words * word_bits);
        m_live.resize(words); // last, as its size is the capacity
    }
    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_places.capacity() * sizeof(slot_id) + m_live.capacity() * sizeof(word);
    }

    /// Appends the entry as the newest one. Calls `entries.move(entry, place)` for each entry that a sweep moves, and
    /// `entries.load(entry)` some time before, to prefetch it.
    template <class Entries>
    place_id append(slot_id entry, Entries&& entries) noexcept {
        if (m_next % uses_per_word == 0 && (m_sweep || m_next >= capacity() / 8 * 7)) {
            sweep(entries);
        }
        assert(m_next < capacity());
        const place_id place = m_next++;
        m_places[place] = entry;
        detail::set_bit(m_live, place);
        return place;
    }
    void leave(place_id place) noexcept {
        assert(is_live(place));
        detail::clear_bit(m_live, place);
    }
    /// Frees the newest places, up to the last live one. So entries that were just added and are now appended again do
    /// not use up two places.
    void take_back() noexcept {
        const std::size_t first = m_sweep ? m_sweep->from : 0; // a sweep has passed the words before
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
        return place < m_next && detail::has_bit(m_live, place);
    }
    /// The first live place, and the nearest live places on both sides of a place; `nowhere` beyond the ends.
    [[nodiscard]] place_id oldest() noexcept {
        const place_id first = from(m_oldest);
        m_oldest = first == nowhere ? m_next : first;
        return first;
    }
    [[nodiscard]] place_id newer(place_id place) const noexcept { return from(place + 1); }
    [[nodiscard]] place_id newest() const noexcept { return older(m_next); }
    [[nodiscard]] place_id older(place_id place) const noexcept {
        std::size_t at = place / word_bits;
        word bits = at < m_live.size() ? m_live[at] & (detail::bit_of(place) - 1) : 0;
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
    using word = detail::word;
    static constexpr std::size_t word_bits = detail::word_bits;
    /// A sweep begins when 7/8 of the places are taken. At this rate it ends before 7/8 * 16/15 of them are.
    static constexpr std::size_t uses_per_word = 4;

    [[nodiscard]] std::size_t capacity() const noexcept { return m_live.size() * word_bits; }
    /// Sweeps one word. Looping over its set bits avoids an unpredictable branch per place: with such branches,
    /// resolving a key took half as long again.
    template <class Entries>
    MEMOIZED_PREFETCH_NOINLINE void sweep(Entries& entries) noexcept {
        if (!m_sweep) {
            m_sweep = sweep_state{.from = m_oldest / word_bits, .end = 0};
        }
        sweep_state& now = *m_sweep;
        const place_id first = now.end;
        const word live = std::exchange(m_live[now.from], 0);
        detail::visit_bits(now.from, live, [&](place_id place) {
            m_places[now.end] = m_places[place];
            entries.move(m_places[now.end], now.end);
            ++now.end;
        });
        set_live(first, now.end);
        m_oldest = live != 0 ? std::min(m_oldest, first) : m_oldest;
        ++now.from;
        if (now.from * word_bits >= m_next) {
            m_next = now.end;
            m_oldest = std::min(m_oldest, m_next);
            m_sweep.reset();
            return;
        }
        detail::visit_bits(now.from, m_live[now.from], [&](place_id place) { entries.load(m_places[place]); });
    }
    [[nodiscard]] place_id from(place_id place) const noexcept {
        std::size_t at = place / word_bits;
        if (at >= m_live.size()) {
            return nowhere;
        }
        word bits = m_live[at] & ~(detail::bit_of(place) - 1);
        while (bits == 0) {
            if (++at * word_bits >= m_next) {
                return nowhere;
            }
            bits = m_live[at];
        }
        return static_cast<place_id>(at * word_bits) + static_cast<place_id>(std::countr_zero(bits));
    }
    void set_live(std::size_t begin, std::size_t end) noexcept {
        while (begin < end) {
            const std::size_t first = begin % word_bits;
            const std::size_t count = std::min(word_bits - first, end - begin);
            m_live[begin / word_bits] |= (count == word_bits ? ~word{0} : (word{1} << count) - 1) << first;
            begin += count;
        }
    }

    /// A sweep that is under way.
    struct sweep_state {
        std::size_t from; // the next word to be swept
        place_id end;     // of the places already swept
    };

    vector_of<slot_id> m_places;
    vector_of<word> m_live; // from m_next on, no bit is set
    place_id m_next = 0;
    place_id m_oldest = 0; // no place before this one is live
    std::optional<sweep_state> m_sweep;
};

} // namespace memoized_prefetch
