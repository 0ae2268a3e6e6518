/// reuse_distances: what a bounded table would have fetched, had it been larger or smaller.
///
/// The least recently used entries give way, so of all keys ever used, in the order of their last use, a table of n entries
/// holds the first n: one pass over the uses tells for every n at once what it would have found (Mattson's stack). The
/// *distance* of a use is the place of its key in that order when the chunk began; tables of at least so many entries find
/// it. All keys of a chunk are held against the same order, because nothing gives way before the chunk ends; what the chunk
/// used before is found by all.
///
///   m_index: tag --> record [ tag | place ]
///   places, oldest first:  1 0 1 1 0 0 1 1 | 1 1 1 . . .      m_taken: one bit a place, `m_next` is the first free one
///                          1 0 1 1 1 1 1 1 |                  m_before: as it was when the chunk began, at m_begin
///
/// A use moves its key to `m_next`. The distance is the number of bits of `m_before` behind the place: a prefix sum per word
/// and one population count. When the places run out they are numbered anew. So a use is O(1), a chunk O(places / 64).
///
/// A key that is declared out of date leaves a *hole* in the order: tables that held it have room for one entry more. A key
/// that comes to the front from behind a hole fills it, and leaves one where it was.
///
/// Keys are known by their tag only, also long after they left the table. The first `exact_keys` are all recorded. Beyond,
/// only keys whose mixed tag begins with `m_shift` zeros: one of them stands for 2^m_shift, in counts and in distances. The
/// more keys there are, the fewer are taken, so that memory is bounded, by `most_keys` records and as many distances.
///
/// Memory is asked for when there are twice as many keys as before. When there is none, fewer keys are taken: a chunk never
/// fails for this.
#pragma once

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
    static constexpr std::size_t exact_keys = 1024; ///< so many distinct keys are recorded without exception
    static constexpr std::size_t most_keys = 8192;  ///< never more than so many

    /// From the beginning: told of every use. Without it, it is told of fetches only, and knows no distances.
    void measure() noexcept { m_measures = true; }
    [[nodiscard]] bool measures() const noexcept { return m_measures; }

    /// Whether this is one of the keys that are recorded.
    [[nodiscard]] bool takes(std::uint32_t tag) const noexcept { return (mixed(tag) & m_mask) == 0; }

    /// The running chunk uses a key that is taken. The order of the calls is the order of the uses.
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
            m_distances[m_above[place / word_bits] + ones(behind)] += weight();
        }
        move(known);
    }

    /// A key that is taken came into the table without being asked for.
    void load(std::uint32_t tag) noexcept {
        begin_chunk();
        const slot_id known = find(tag);
        known == no_slot ? add(tag) : move(known);
    }

    /// A key that is taken was not in the table. Before its `use`.
    void fetch(std::uint32_t tag) noexcept {
        if (const slot_id known = find(tag); known != no_slot) {
            m_again += weight();
            m_twice += m_records[known].fetched_again ? 0 : weight();
            m_records[known].fetched_again = true;
        } else if (!m_measures) {
            add(tag);
        }
    }

    /// Another chunk begins with the next use.
    void end_chunk() noexcept { m_running = false; }

    /// A key, taken or not, was declared out of date: whether it is fetched again has nothing to do with the table's size.
    void forget(std::uint32_t tag) noexcept {
        const slot_id known = find(tag);
        if (known != no_slot) {
            add_hole(m_records[known].place);
            remove(known);
        }
    }

    /// All keys were declared out of date. What was counted stays.
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

    /// Fetches of keys that had been fetched before and were evicted since.
    [[nodiscard]] std::uint64_t fetched_again() const noexcept { return m_again; }
    /// How many different keys these were.
    [[nodiscard]] std::uint64_t fetched_twice() const noexcept { return m_twice; }
    /// Whether the numbers are no estimates.
    [[nodiscard]] bool exact() const noexcept { return m_shift == 0; }

    /// Calls `visit(size, uses)` in order of size: a table of that size would have found so many uses more than a smaller one.
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

    /// Whether records, places and holes agree, checked in O(places). For tests and debugging.
    [[nodiscard]] bool consistent() const {
        vector_of<word> expected(m_taken.size());
        for (std::size_t at = 0; at < m_records.size(); ++at) {
            if (find(m_records[at].tag) != at || m_records[at].place >= m_next || !takes(m_records[at].tag)) {
                return false;
            }
            set(expected, m_records[at].place);
        }
        std::size_t holes = 0;
        std::uint32_t holes_end = 0;
        for (std::uint32_t place = 0; place < m_next; ++place) {
            if (is_set(m_holes, place)) {
                if (is_set(expected, place)) {
                    return false;
                }
                set(expected, place);
                ++holes;
                holes_end = place + 1;
            }
            if (m_running && place < m_begin && is_set(m_taken, place) && !is_set(m_before, place)) {
                return false;
            }
        }
        return expected == m_taken && holes == m_holes_count && holes_end == m_holes_end &&
               m_index.size() == m_records.size();
    }

private:
    using word = std::uint64_t;
    static constexpr std::size_t word_bits = 64;
    static constexpr std::size_t places_per_key = 4; // numbered anew, a chunk's keys take two: where they were and are

    struct record {
        std::uint32_t tag;
        std::uint32_t place;
        bool fetched_again;
    };

    /// Tags of consecutive integers are alike in their lowest bits and evenly spaced in the rest, which also tell where they lie in
    /// an index. By this, samples of such keys are within 1 % of their share, better than by chance; by MurmurHash3's end within 6.
    [[nodiscard]] static std::uint32_t mixed(std::uint32_t tag) noexcept {
        return static_cast<std::uint32_t>((tag * 0x9E37'79B9'7F4A'7C15U) >> 32U);
    }
    [[nodiscard]] static std::uint32_t ones(word bits) noexcept {
#ifdef __POPCNT__
        return static_cast<std::uint32_t>(std::popcount(bits));
#else // where the processor may lack the instruction, std::popcount is the call of a function
        bits -= bits >> 1U & 0x5555'5555'5555'5555U;
        bits = (bits & 0x3333'3333'3333'3333U) + (bits >> 2U & 0x3333'3333'3333'3333U);
        bits = (bits + (bits >> 4U)) & 0x0F0F'0F0F'0F0F'0F0FU;
        return static_cast<std::uint32_t>(bits * 0x0101'0101'0101'0101U >> 56U);
#endif
    }
    template <class Words>
    static void set(Words& words, std::uint32_t place) noexcept {
        words[place / word_bits] |= word{1} << (place % word_bits);
    }
    template <class Words>
    static void unset(Words& words, std::uint32_t place) noexcept {
        words[place / word_bits] &= ~(word{1} << (place % word_bits));
    }
    template <class Words>
    [[nodiscard]] static bool is_set(const Words& words, std::uint32_t place) noexcept {
        return (words[place / word_bits] >> (place % word_bits) & 1U) != 0;
    }
    template <class Words, class Visit>
    static void visit_bits(const Words& words, Visit&& visit) {
        for (std::size_t at = 0; at < words.size(); ++at) {
            for (word bits = words[at]; bits != 0; bits &= bits - 1) {
                visit(static_cast<std::uint32_t>(at * word_bits) + static_cast<std::uint32_t>(std::countr_zero(bits)));
            }
        }
    }

    [[nodiscard]] slot_id find(std::uint32_t tag) const noexcept {
        return m_index.find(tag, [](slot_id) { return true; }); // keys of one tag count as one
    }
    [[nodiscard]] std::uint64_t weight() const noexcept { return std::uint64_t{1} << m_shift; }
    [[nodiscard]] std::size_t places() const noexcept { return m_capacity * places_per_key; }
    /// About twice as many records for four times as many keys: fewer are taken of them, so that a use costs less.
    [[nodiscard]] std::size_t most_records() const noexcept {
        if (!m_measures) {
            return m_shift == 0 ? exact_keys : exact_keys / 2; // enough to count by
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
        begin_chunk(); // when there was no room before
        const auto at = static_cast<slot_id>(m_records.size());
        m_records.push_back({tag, free_place(), false}); // within the capacity, as the index
        m_index.insert(tag, at);
        set(m_taken, m_records[at].place);
    }

    void move(slot_id known) noexcept {
        const std::uint32_t next = free_place(); // may number the places anew
        const std::uint32_t place = m_records[known].place;
        if (m_holes_end > place) {
            fill_newest_hole();
            add_hole(place);
        } else {
            unset(m_taken, place);
        }
        set(m_taken, next);
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
        set(m_holes, place);
        ++m_holes_count;
        m_holes_end = std::max(m_holes_end, place + 1);
    }

    void fill_newest_hole() noexcept {
        unset(m_taken, m_holes_end - 1);
        unset(m_holes, m_holes_end - 1);
        --m_holes_count;
        find_newest_hole();
    }

    /// Those behind `m_holes_end` are known to be none.
    void find_newest_hole() noexcept {
        if (m_holes_count == 0) {
            m_holes_end = 0;
            return;
        }
        std::size_t at = (m_holes_end - 1) / word_bits;
        while (m_holes[at] == 0) {
            --at;
        }
        m_holes_end = static_cast<std::uint32_t>(at * word_bits + std::bit_width(m_holes[at]));
    }

    void begin_chunk() noexcept {
        if (!m_running && m_capacity != 0) {
            begin_now();
        }
    }

    [[gnu::noinline]] void begin_now() noexcept {
        if (m_next > places() / 2) {
            number_anew();
        }
        std::copy_n(m_taken.begin(), words_used(), m_before.begin()); // has no bits behind
        m_begin = m_next;
        m_running = true;
        count_above();
    }

    [[nodiscard]] std::size_t words_used() const noexcept { return (m_next + word_bits - 1) / word_bits; }

    void count_above() noexcept {
        std::uint32_t above = 0;
        for (std::size_t at = words_used(); at-- > 0;) {
            m_above[at] = above;
            above += ones(m_before[at]);
        }
    }

    [[nodiscard]] std::uint32_t free_place() noexcept {
        if (m_next == places()) {
            number_anew();
        }
        return m_next++;
    }

    /// Gives places that are not taken up. Those before the running chunk count as long as it lasts, for its distances.
    void number_anew() noexcept {
        if (!m_running) {
            std::fill(m_before.begin(), m_before.end(), 0);
            m_begin = 0;
        }
        std::uint32_t below = 0;
        for (std::size_t at = 0; at < m_taken.size(); ++at) {
            m_before[at] |= m_taken[at];
            m_above[at] = below;
            below += ones(m_before[at]);
        }
        const auto renumbered = [&](std::uint32_t place) {
            const word before = m_before[place / word_bits] & ((word{1} << (place % word_bits)) - 1);
            return m_above[place / word_bits] + ones(before);
        };
        std::fill(m_taken.begin(), m_taken.end(), 0);
        for (record& one : m_records) {
            one.place = renumbered(one.place);
            set(m_taken, one.place);
        }
        m_holes_end = 0;
        visit_bits(m_holes, [&](std::uint32_t place) { // no new place lies behind an old one
            const std::uint32_t now = renumbered(place);
            unset(m_holes, place);
            set(m_holes, now);
            set(m_taken, now);
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

    /// From now on every key that is taken stands for twice as many as before.
    [[gnu::noinline]] void take_fewer() noexcept {
        ++m_shift;
        m_mask = ~(~0U >> m_shift);
        const auto drop = [&](std::uint32_t place) {
            unset(m_taken, place);
            if (place < m_begin) {
                unset(m_before, place);
            }
        };
        for (std::size_t at = m_records.size(); at-- > 0;) {
            if (!takes(m_records[at].tag)) {
                drop(m_records[at].place);
                remove(static_cast<slot_id>(at));
            }
        }
        // Of holes, and of places that the running chunk left, it is not known whose they were: every second one goes.
        bool goes = false;
        visit_bits(m_holes, [&](std::uint32_t place) {
            goes = !goes;
            if (goes) {
                drop(place);
                unset(m_holes, place);
                --m_holes_count;
            }
        });
        find_newest_hole();
        visit_bits(m_before, [&](std::uint32_t place) {
            if (!is_set(m_taken, place)) {
                goes = !goes;
                if (goes) {
                    unset(m_before, place);
                }
            }
        });
        count_above();
        // Halved, to the even number where there is none: neither up nor down on the whole.
        for (std::size_t distance = 1; distance < m_distances.size(); ++distance) {
            const std::uint64_t uses = m_distances[distance];
            m_distances[distance] = 0;
            m_distances[(distance + (distance >> 1U & 1U)) >> 1U] += uses;
        }
    }

    /// Room for twice as many records. What was allocated before an allocation failed is used by the next attempt.
    [[gnu::noinline]] bool make_room() noexcept {
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
    vector_of<std::uint32_t> m_above;     // by word: the bits of `m_before` in the words behind
    vector_of<std::uint64_t> m_distances; // uses by distance less one, in units of 2^m_shift
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
};

} // namespace memoized_prefetch
