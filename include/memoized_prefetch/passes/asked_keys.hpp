/// asked_keys: the keys that one chunk asks for in one table. Each distinct key has a position.
///
/// Keys that are in the table lead to their entries, which stay pinned while this lives. The others are numbered: they
/// are the keys to fetch. key_resolution finds rows for all of them.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/passes/key_counts.hpp>
#include <memoized_prefetch/tables/key_set.hpp>
#include <memoized_prefetch/tables/memo_table.hpp>
#include <memoized_prefetch/tables/pinned.hpp>

#include <array>
#include <cassert>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Memo>
class asked_keys {
public:
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<allocator_type>::template rebind_alloc<T>>;

    explicit asked_keys(Memo& rows) noexcept
        : m_pinned(rows), m_numbers_entries(rows.take_numbers()), m_version(rows.version()), m_at(rows.take_buffers()) {
    }
    asked_keys(const asked_keys&) = delete;
    asked_keys& operator=(const asked_keys&) = delete;
    asked_keys(asked_keys&&) = delete;
    asked_keys& operator=(asked_keys&&) = delete;
    ~asked_keys() {
        unpin();
        m_at.clear();
        memo().keep_buffers(std::move(m_at));
    }

    /// Asks for keys, which are moved from, and writes their positions. All their look-ups overlap.
    /// `relations`: by key, or one for all; see key_counts.hpp.
    void ask(std::span<key_type> keys, std::span<const std::uint32_t> relations, std::span<slot_id* const> positions) {
        const std::size_t known = size();
        make_room(known + keys.size());
        std::array<std::uint32_t, most_asked> tags; // NOLINT(*-member-init): written before read
        assert(keys.size() <= tags.size());
        for (std::size_t at = 0; at < keys.size(); ++at) {
            tags[at] = Memo::tag_of(keys[at]);
        }
        memo().find_all(keys, {tags.data(), keys.size()},
                        [&](std::size_t begin, std::span<const slot_id> slots, auto nodes) {
                            const auto of_these = positions.subspan(begin);
                            m_numbers_entries ? number(slots, nodes, of_these) : number_in_set(slots, of_these);
                            std::array<std::uint8_t, most_asked> missed; // NOLINT(*-member-init): written before read
                            std::size_t count = 0;
                            for (std::size_t at = 0; at < slots.size(); ++at) {
                                missed[count] = static_cast<std::uint8_t>(at);
                                count += slots[at] == no_slot ? 1U : 0U;
                            }
                            for (std::size_t one = 0; one < count; ++one) {
                                const std::size_t at = begin + missed[one];
                                *positions[at] = number_missed(std::move(keys[at]), tags[at]);
                            }
                        });
        detail::note_relations(m_at.relations, known, size(), relations, positions);
    }
    static constexpr std::size_t most_asked = 64; ///< keys at once

    /// Makes room for `count` keys in all.
    void reserve(std::size_t count) {
        m_at.places.reserve(count + 1); // one more than are kept: see `number` and `order`
        m_at.handles.reserve(count + 1);
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_at.places.size(); }
    /// The null handle if there is no such row. The handle stays where it is while this lives, as entries do not move.
    [[nodiscard]] const handle_type& handle(slot_id position) const noexcept { return *m_at.handles[position]; }
    /// Working memory that the passes share with this.
    [[nodiscard]] typename Memo::buffers_type& buffers() noexcept { return m_at; }

    /// Ends the pins. `release` does the rest.
    void unpin() noexcept {
        if (!std::exchange(m_pins, false)) {
            return;
        }
        for (const slot_id position : m_at.duplicates) {
            m_at.places[position] = key_place(); // the entry is pinned once, by the other position
        }
        for (const key_place place : m_at.places) {
            if (place.is_missed()) {
                continue;
            }
            if (m_numbers_entries) {
                memo().drop_number(place.slot());
            }
            memo().unpin(place.slot());
        }
        if (m_numbers_entries) {
            memo().give_numbers_back();
        }
        m_pinned.unpin();
    }
    /// Ends the pins and trims the memo. Returns how many entries were evicted.
    std::size_t release() noexcept {
        unpin();
        return m_pinned.release();
    }

protected:
    [[nodiscard]] Memo& memo() const noexcept { return m_pinned.table(); }
    /// Whether other code has changed the memo since the first key was asked for.
    [[nodiscard]] bool is_changed() const noexcept { return memo().version() != m_version; }

    /// Turns a hit into a miss: the entry found is out of date.
    void miss(slot_id position) {
        const slot_id slot = m_at.places[position].slot();
        m_at.missed.reserve(m_at.places.capacity());
        m_at.duplicates.reserve(m_at.places.capacity());
        m_pinned.reserve_more(1);
        key_type key = memo().key(slot);
        const slot_id number = m_at.keys.add(std::move(key));
        if (number == m_at.missed.size()) {
            m_at.missed.append(position);
        } else { // the entry left the memo while keys were asked for, and then the key was missed
            m_at.duplicates.append(position);
        }
        if (m_numbers_entries) {
            memo().drop_number(slot);
        }
        m_pinned.add_pinned(slot);
        m_at.places[position] = key_place::missed(number);
        m_at.handles[position] = &no_row();
    }
    /// Looks up all keys again, because other code has run since the first was asked for: entries may have left the
    /// memo, and others may have come.
    MEMOIZED_PREFETCH_NOINLINE void look_again() {
        for (slot_id position = 0; position < size(); ++position) {
            const key_place place = m_at.places[position];
            if (!place.is_missed()) {
                if (!memo().is_living(place.slot())) {
                    miss(position);
                }
                continue;
            }
            const slot_id number = place.number();
            const slot_id found = memo().find(m_at.keys[number], m_at.keys.tags()[number]);
            if (found != no_slot) {
                memo().pin(found);
                m_at.places[position] = key_place(found);
                m_at.handles[position] = &memo().handle(found);
            }
        }
    }

private:
    void make_room(std::size_t count) {
        reserve(count < m_at.places.capacity() ? count : std::max(count, 2 * m_at.places.capacity()));
    }

    /// Numbers and pins entries that were found; skips `no_slot`. It does not branch on whether an entry was found, nor
    /// on whether the chunk asked for it before: neither can be predicted, and a wrong guess costs some 20 cycles.
    template <class Nodes>
    void number(std::span<const slot_id> slots, Nodes nodes, std::span<slot_id* const> positions) {
        key_place* const new_places = m_at.places.end();
        const handle_type** const new_handles = m_at.handles.end();
        const auto next = static_cast<std::uint32_t>(size() + 1);
        std::uint32_t added = 0;
        for (std::size_t at = 0; at < slots.size(); ++at) {
            const slot_id slot = slots[at];
            auto& entry = *nodes[at];
            const std::uint32_t known = entry.number;
            const std::uint32_t fresh = unsigned{known == 0} & unsigned{slot != no_slot};
            const std::uint32_t number = known | ((next + added) & (0U - fresh));
            entry.number = number;
            Memo::pin(entry, fresh);
            new_places[added] = key_place(slot);
            new_handles[added] = &entry.payload;
            added += fresh;
            *positions[at] = number - 1;
        }
        m_at.places.added(added);
        m_at.handles.added(added);
    }
    /// The same, if another pass uses the numbers in the table's entries.
    MEMOIZED_PREFETCH_NOINLINE void number_in_set(std::span<const slot_id> slots, std::span<slot_id* const> positions) {
        for (std::size_t at = 0; at < slots.size(); ++at) {
            const slot_id slot = slots[at];
            if (slot == no_slot) {
                continue;
            }
            const std::uint32_t tag = key_index<allocator_type>::tag_of(slot);
            slot_id position = m_at.entries.find(tag, [&](slot_id one) { return m_at.places[one].slot() == slot; });
            if (position == no_slot) {
                m_at.entries.reserve(size() + 1);
                position = static_cast<slot_id>(size());
                m_at.entries.insert(tag, position);
                memo().pin(slot);
                m_at.places.append(key_place(slot));
                m_at.handles.append(&memo().handle(slot));
            }
            *positions[at] = position;
        }
    }
    slot_id number_missed(key_type key, std::uint32_t tag) {
        m_at.missed.reserve(m_at.places.capacity());
        const slot_id number = m_at.keys.add(std::move(key), tag);
        if (number == m_at.missed.size()) {
            m_at.missed.append(static_cast<slot_id>(size()));
            m_at.places.append(key_place::missed(number));
            m_at.handles.append(&no_row());
        }
        return m_at.missed[number];
    }
    [[nodiscard]] static const handle_type& no_row() noexcept {
        static const handle_type none{};
        return none;
    }

    pinned<Memo> m_pinned; // first, so that it is destroyed last. Holds the pins of entries found out of date
    bool m_numbers_entries;
    bool m_pins = true;      // whether the entries in m_at.places are pinned
    std::uint64_t m_version; // of the memo, before anything was looked up

protected:
    typename Memo::buffers_type m_at;
};

} // namespace memoized_prefetch
