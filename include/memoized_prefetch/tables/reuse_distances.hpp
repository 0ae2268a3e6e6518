/// reuse_distances: the miss-ratio curve: what a bounded table would have fetched if it had been larger or smaller.
///
/// A table evicts its least recently used entries. So if all keys ever used are ordered by their last use, newest
/// first, a table of n entries holds the first n. One pass over the uses therefore tells for every n what the table
/// would have found (Mattson's stack algorithm). The *reuse distance* of a use is the place of its key in that order
/// when the chunk began: tables of at least that size find it. All keys of a chunk are compared with one order, since
/// nothing is evicted before the chunk ends. Tables of all sizes find a second use in the chunk.
///
///   m_index: tag --> record [ tag | place ]
///   places, oldest first:  1 0 1 1 0 0 1 1 | 1 1 1 . . .      m_taken: one bit a place, `m_next` is the first free one
///                          1 0 1 1 1 1 1 1 |                  m_before: m_taken when the chunk began, at m_begin
///
/// A use moves its key to `m_next`. The distance is the number of bits of `m_before` behind the place: a prefix sum per
/// word and one population count. When the places run out, they are renumbered. So a use is O(1), and a chunk
/// O(places / 64).
///
/// An invalidated key leaves a *hole* in the order: tables that held it have room for one more entry. A key that moves
/// to the front from behind a hole fills it, and leaves a hole where it was.
///
/// Keys are known only by their tags, even long after they left the table. The first `exact_keys` keys are all
/// recorded. With more, the SHARDS method samples them: it takes the keys whose mixed tag begins with `m_shift` zeros,
/// and each stands for 2^m_shift keys, in counts and in distances. The more keys there are, the smaller the sampled
/// share. So memory is bounded by `most_keys` records and as many distances. With `measure_all` there is no sample.
///
/// Memory is allocated whenever the number of keys has doubled. If that fails, fewer keys are sampled: a chunk never
/// fails because of this.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/tables/bit_words.hpp>
#include <memoized_prefetch/tables/key_index.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace memoized_prefetch {

template <class Allocator = std::allocator<std::byte>>
class reuse_distances {
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>>;

public:
    static constexpr std::size_t exact_keys = 1024; ///< up to this number, all distinct keys are recorded
    static constexpr std::size_t most_keys = 8192;  ///< the most keys ever recorded

    /// Announces that `use` will be called for every use. Call this first. Otherwise only `fetch` is called, and there
    /// are no distances.
    void measure() noexcept { m_measures = true; }
    /// The same, and records all keys however many there are: for a trace that is read once, not for a table that works.
    void measure_all() noexcept { m_measures = m_records_all = true; }
    [[nodiscard]] bool measures() const noexcept { return m_measures; }

    /// Whether the sample takes this key.
    [[nodiscard]] bool takes(std::uint32_t tag) const noexcept { return (mixed(tag) & m_mask) == 0; }

    /// The running chunk uses a key of the sample. The order of the calls is the order of the uses.
    void use(std::uint32_t tag) noexcept {
        begin_chunk();
        const slot_id known = find(tag);
        if (known == no_slot) {
            add(tag);
            return;
        }
        const std::uint32_t place = m_records[known].place;
        if (place < m_begin) {
            const std::uint64_t behind = m_before[place / word_bits] >> (place % word_bits) >> 1U;
            m_distances[m_above[place / word_bits] + detail::ones(behind)] += weight();
        }
        move(known);
    }

    /// A key of the sample came into the table without being asked for.
    void load(std::uint32_t tag) noexcept {
        begin_chunk();
        const slot_id known = find(tag);
        known == no_slot ? add(tag) : move(known);
    }

    /// A key of the sample was not in the table. Called before its `use`.
    void fetch(std::uint32_t tag) noexcept {
        if (const slot_id known = find(tag); known != no_slot) {
            m_again += weight();
            m_twice += m_records[known].fetched_again ? 0 : weight();
            m_records[known].fetched_again = true;
        } else if (!m_measures) {
            add(tag);
        }
    }

    /// The next use begins another chunk.
    void end_chunk() noexcept { m_running = false; }

    /// A key was invalidated, so that its next fetch has nothing to do with the table's size. It need not be in the
    /// sample.
    void forget(std::uint32_t tag) noexcept {
        const slot_id known = find(tag);
        if (known != no_slot) {
            add_hole(m_records[known].place);
            remove(known);
        }
    }

    /// All keys were invalidated. The counts stay.
    void forget_all() noexcept {
        m_index.clear();
        vector_of<record>{}.swap(m_records);
        vector_of<word>{}.swap(m_taken);
        vector_of<word>{}.swap(m_before);
        vector_of<word>{}.swap(m_holes);
        vector_of<std::uint32_t>{}.swap(m_above);
        m_capacity = m_holes_count = 0;
        m_holes_end = m_next = m_begin = 0;
        m_running = false;
    }

    /// Fetches of keys that had been in the table and were evicted.
    [[nodiscard]] std::uint64_t fetched_again() const noexcept { return m_again; }
    /// The number of different keys among these.
    [[nodiscard]] std::uint64_t fetched_twice() const noexcept { return m_twice; }
    /// Whether the numbers are exact, not estimates.
    [[nodiscard]] bool exact() const noexcept { return m_shift == 0; }

    /// Calls `visit(size, uses)` in order of size: a table of this size would have found `uses` more than one of
    /// `size - 1`.
    template <class Visit>
    void visit(Visit&& visit) const {
        for (std::size_t distance = 0; distance < m_distances.size(); ++distance) {
            if (m_distances[distance] != 0) {
                visit((static_cast<std::uint64_t>(distance) << m_shift) + 1, m_distances[distance]);
            }
        }
    }

    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_index.bytes() + m_records.capacity() * sizeof(record) +
               (m_taken.capacity() + m_before.capacity() + m_holes.capacity()) * sizeof(word) +
               m_above.capacity() * sizeof(std::uint32_t) + m_distances.capacity() * sizeof(std::uint64_t);
    }

    /// Checks in O(places) that records, places and holes agree. For tests and debugging.
    [[nodiscard]] bool consistent() const {
        vector_of<word> expected(m_taken.size());
        for (std::size_t at = 0; at < m_records.size(); ++at) {
            if (find(m_records[at].tag) != at || m_records[at].place >= m_next || !takes(m_records[at].tag)) {
                return false;
            }
            detail::set_bit(expected, m_records[at].place);
        }
        std::size_t holes = 0;
        std::uint32_t holes_end = 0;
        for (std::uint32_t place = 0; place < m_next; ++place) {
            if (detail::has_bit(m_holes, place)) {
                if (detail::has_bit(expected, place)) {
                    return false;
                }
                detail::set_bit(expected, place);
                ++holes;
                holes_end = place + 1;
            }
            if (m_running && place < m_begin && detail::has_bit(m_taken, place) && !detail::has_bit(m_before, place)) {
                return false;
            }
        }
        return expected == m_taken && holes == m_holes_count && holes_end == m_holes_end &&
               m_index.size() == m_records.size();
    }

private:
    using word = detail::word;
    static constexpr std::size_t word_bits = detail::word_bits;
    static constexpr std::size_t places_per_key =
        4; // when renumbered, a key of the running chunk takes two: the old one and the new one

    struct record {
        std::uint32_t tag;
        std::uint32_t place;
        bool fetched_again;
    };

    /// The tags of consecutive integers have similar lowest bits, and the other bits are evenly spaced. Mixed like
    /// this, samples of such keys are within 1 % of their share, better than random ones; with MurmurHash3's finalizer,
    /// within 6 %.
    [[nodiscard]] static std::uint32_t mixed(std::uint32_t tag) noexcept {
        return static_cast<std::uint32_t>((tag * 0x9E37'79B9'7F4A'7C15U) >> 32U);
    }
    [[nodiscard]] slot_id find(std::uint32_t tag) const noexcept {
        return m_index.find(tag, [](slot_id) { return true; }); // keys of one tag count as one key
    }
    [[nodiscard]] std::uint64_t weight() const noexcept { return std::uint64_t{1} << m_shift; }
    [[nodiscard]] std::size_t places() const noexcept { return m_capacity * places_per_key; }
    /// Four times as many keys get about twice as many records. So the sampled share of the keys falls, and a use costs
    /// less.
    [[nodiscard]] std::size_t most_records() const noexcept {
        if (m_records_all) {
            return no_slot;
        }
        if (!m_measures) {
            return m_shift == 0 ? exact_keys : exact_keys / 2; // enough to estimate the counts
        }
        return std::min(exact_keys << std::min(m_shift - std::min(m_shift, 1U), 16U), most_keys);
    }

    void add(std::uint32_t tag) noexcept {
        if (m_holes_count != 0) {
            fill_newest_hole();
        }
        while (m_records.size() + m_holes_count >= std::min(most_records(), m_capacity)) {
            if (m_capacity < most_records() && make_room()) {
                continue;
            }
            take_fewer();
            if (m_capacity == 0 || !takes(tag)) {
                return;
            }
        }
        begin_chunk(); // if there was no room before
        const auto at = static_cast<slot_id>(m_records.size());
        m_records.push_back({tag, free_place(), false}); // within the capacity, as the index
        m_index.insert(tag, at);
        detail::set_bit(m_taken, m_records[at].place);
    }

    void move(slot_id known) noexcept {
        const std::uint32_t next = free_place(); // may renumber the places
        const std::uint32_t place = m_records[known].place;
        if (m_holes_end > place) {
            fill_newest_hole();
            add_hole(place);
        } else {
            detail::clear_bit(m_taken, place);
        }
        detail::set_bit(m_taken, next);
        m_records[known].place = next;
    }

    void remove(slot_id known) noexcept {
        m_index.erase(m_records[known].tag, known);
        const auto last = static_cast<slot_id>(m_records.size() - 1);
        if (known != last) {
            m_index.erase(m_records[last].tag, last);
            m_records[known] = m_records[last];
            m_index.insert(m_records[known].tag, known);
        }
        m_records.pop_back();
    }

    void add_hole(std::uint32_t place) noexcept {
        detail::set_bit(m_holes, place);
        ++m_holes_count;
        m_holes_end = std::max(m_holes_end, place + 1);
    }

    void fill_newest_hole() noexcept {
        detail::clear_bit(m_taken, m_holes_end - 1);
        detail::clear_bit(m_holes, m_holes_end - 1);
        --m_holes_count;
        find_newest_hole();
    }

    /// Places from `m_holes_end` on are known not to be holes.
    void find_newest_hole() noexcept {
        if (m_holes_count == 0) {
            m_holes_end = 0;
            return;
        }
        std::size_t at = (m_holes_end - 1) / word_bits;
        while (m_holes[at] == 0) {
            --at;
        }
        m_holes_end =
            static_cast<std::uint32_t>(at * word_bits) + static_cast<std::uint32_t>(std::bit_width(m_holes[at]));
    }

    void begin_chunk() noexcept {
        if (!m_running && m_capacity != 0) {
            begin_now();
        }
    }

    MEMOIZED_PREFETCH_NOINLINE void begin_now() noexcept {
        if (m_next > places() / 2) {
            number_anew();
        }
        std::copy_n(m_taken.begin(), words_used(), m_before.begin()); // m_before has no bits behind these words
        m_begin = m_next;
        m_running = true;
        count_above();
    }

    [[nodiscard]] std::size_t words_used() const noexcept { return (m_next + word_bits - 1) / word_bits; }

    void count_above() noexcept {
        std::uint32_t above = 0;
        for (std::size_t at = words_used(); at-- > 0;) {
            m_above[at] = above;
            above += detail::ones(m_before[at]);
        }
    }

    [[nodiscard]] std::uint32_t free_place() noexcept {
        if (m_next == places()) {
            number_anew();
        }
        return m_next++;
    }

    /// Renumbers the places without the free ones. Places from before the running chunk stay while it runs, because its
    /// distances need them.
    void number_anew() noexcept {
        if (!m_running) {
            std::fill(m_before.begin(), m_before.end(), 0);
            m_begin = 0;
        }
        std::uint32_t below = 0;
        for (std::size_t at = 0; at < m_taken.size(); ++at) {
            m_before[at] |= m_taken[at];
            m_above[at] = below;
            below += detail::ones(m_before[at]);
        }
        const auto renumbered = [&](std::uint32_t place) {
            const word before = m_before[place / word_bits] & ((word{1} << (place % word_bits)) - 1);
            return m_above[place / word_bits] + detail::ones(before);
        };
        std::fill(m_taken.begin(), m_taken.end(), 0);
        for (record& one : m_records) {
            one.place = renumbered(one.place);
            detail::set_bit(m_taken, one.place);
        }
        m_holes_end = 0;
        detail::visit_bits(m_holes, [&](std::uint32_t place) { // the new place is never larger
            const std::uint32_t now = renumbered(place);
            detail::clear_bit(m_holes, place);
            detail::set_bit(m_holes, now);
            detail::set_bit(m_taken, now);
            m_holes_end = now + 1;
        });
        m_next = below;
        m_begin = m_begin < places() ? renumbered(m_begin) : below;
        for (std::size_t at = 0; at < m_taken.size(); ++at) {
            const std::size_t first = at * word_bits;
            m_before[at] = m_begin >= first + word_bits ? ~word{0}
                           : m_begin > first            ? (word{1} << (m_begin - first)) - 1
                                                        : 0;
        }
        count_above();
    }

    /// Halves the sample: from now on every key in it stands for twice as many keys as before.
    MEMOIZED_PREFETCH_NOINLINE void take_fewer() noexcept {
        ++m_shift;
        m_mask = ~(~0U >> m_shift);
        const auto drop = [&](std::uint32_t place) {
            detail::clear_bit(m_taken, place);
            if (place < m_begin) {
                detail::clear_bit(m_before, place);
            }
        };
        for (std::size_t at = m_records.size(); at-- > 0;) {
            if (!takes(m_records[at].tag)) {
                drop(m_records[at].place);
                remove(static_cast<slot_id>(at));
            }
        }
        // The keys of holes, and of places that the running chunk gave up, are unknown: drop every second one.
        bool goes = false;
        detail::visit_bits(m_holes, [&](std::uint32_t place) {
            goes = !goes;
            if (goes) {
                drop(place);
                detail::clear_bit(m_holes, place);
                --m_holes_count;
            }
        });
        find_newest_hole();
        detail::visit_bits(m_before, [&](std::uint32_t place) {
            if (!detail::has_bit(m_taken, place)) {
                goes = !goes;
                if (goes) {
                    detail::clear_bit(m_before, place);
                }
            }
        });
        count_above();
        // Halve the distances. Round halves to even, so that there is no bias up or down.
        for (std::size_t distance = 1; distance < m_distances.size(); ++distance) {
            const std::uint64_t uses = m_distances[distance];
            m_distances[distance] = 0;
            m_distances[(distance + (distance >> 1U & 1U)) >> 1U] += uses;
        }
    }

    /// Makes room for twice as many records. If an allocation fails, the next attempt uses what was allocated before.
    MEMOIZED_PREFETCH_NOINLINE bool make_room() noexcept {
        const std::size_t capacity = m_capacity == 0 ? 32 : 2 * m_capacity;
#if defined(__cpp_exceptions)
        try {
            reserve(capacity);
        } catch (const std::bad_alloc&) {
            return false;
        }
#else
        reserve(capacity);
#endif
        m_capacity = capacity;
        return true;
    }
    void reserve(std::size_t capacity) {
        const std::size_t words = capacity * places_per_key / word_bits;
        m_index.reserve(capacity);
        m_records.reserve(capacity);
        m_before.resize(words);
        m_holes.resize(words);
        m_above.resize(words);
        m_distances.resize(std::max(capacity, m_distances.size()));
        m_taken.resize(words); // last: all others are at least as long
    }

    key_index<Allocator> m_index;
    vector_of<record> m_records;
    vector_of<word> m_taken;              // by place: a key's or a hole's
    vector_of<word> m_before;             // `m_taken` when the running chunk began
    vector_of<word> m_holes;              // by place
    vector_of<std::uint32_t> m_above;     // by word: the number of bits of `m_before` in the words behind it
    vector_of<std::uint64_t> m_distances; // uses by distance minus one, in units of 2^m_shift
    std::size_t m_capacity = 0;
    std::size_t m_holes_count = 0;
    std::uint64_t m_again = 0;
    std::uint64_t m_twice = 0;
    std::uint32_t m_holes_end = 0; // behind the newest hole; 0: there is none
    std::uint32_t m_next = 0;
    std::uint32_t m_begin = 0;
    std::uint32_t m_mask = 0;
    unsigned m_shift = 0;
    bool m_running = false;
    bool m_measures = false;
    bool m_records_all = false;
};

} // namespace memoized_prefetch
