/// key_resolution: finds the rows for the keys that one chunk asks for, in memory or by one fetch for the rest.
///
///   ask ... ask -> [distinct keys] -> resolve: memory | fetch -> handle(position)   -> commit
///                                                                                 (or destroyed: rolled back)
///
/// It pins the entries it uses while it lives. Until `commit` the memo shows no trace of it: the order of use stays,
/// and if an exception ends the pass, the destructor takes out the entries that `resolve` added.
///
/// A *row source* tells how rows are read; see row_source_traits.hpp.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>
#include <memoized_prefetch/passes/key_counts.hpp>
#include <memoized_prefetch/passes/row_source_traits.hpp>
#include <memoized_prefetch/tables/key_set.hpp>
#include <memoized_prefetch/tables/memo_table.hpp>
#include <memoized_prefetch/tables/pinned.hpp>

#include <array>
#include <span>

namespace memoized_prefetch {

template <class Memo>
class key_resolution {
public:
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<allocator_type>::template rebind_alloc<T>>;

    explicit key_resolution(Memo& memo) noexcept
        : m_pinned(memo), m_numbers_entries(memo.take_numbers()), m_generation(memo.generation()),
          m_version(memo.version()), m_at(memo.take_buffers()) {}
    key_resolution(const key_resolution&) = delete;
    key_resolution& operator=(const key_resolution&) = delete;
    key_resolution(key_resolution&&) = delete;
    key_resolution& operator=(key_resolution&&) = delete;
    ~key_resolution() {
        if (!m_committed) {
            roll_back();
        }
        unpin();
        m_at.clear();
        memo().keep_buffers(std::move(m_at));
    }

    /// Takes out what `resolve` added and ends the pins. `release` or the destructor trims the memo to its bound.
    void roll_back() noexcept {
        for (const slot_id slot : m_at.added) {
            if (memo().is_living(slot) && memo().pins(slot) == 1) { // else another chunk pinned it and relies on it
                memo().erase(slot);
            }
        }
        m_at.added.clear();
        unpin();
    }

    /// Asks for keys, which are moved from, and writes their positions. The look-ups of all these keys overlap.
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

    /// Finds the rows: in memory, or by one call of the source.
    template <class RowSource>
    void resolve(RowSource& source) {
        const vector_of<key_type>& asked = missing(source);
        if (!asked.empty()) {
            source.fetch(asked, [&](handle_type row) { return take(source, std::move(row)); });
        }
        admit(source);
    }

    /// First step of `resolve`: the keys to fetch. Rows in memory that are out of date are among them.
    template <class RowSource>
    [[nodiscard]] const vector_of<key_type>& missing(RowSource& source) {
        if (memo().version() != m_version) {
            look_again();
        }
        check(source);
        m_at.fetched.reserve(m_at.missed.size());
        for (const slot_id position : m_at.missed) {
            if (m_at.places[position].is_missed()) {
                m_at.fetched.append(position);
            }
        }
        if constexpr (traits<RowSource>::may_know_all) {
            if (source.knows_all()) {
                m_at.fetched.clear();
            }
        }
        if (!m_at.fetched.empty()) {
            expect_rows();
        }
        return m_at.asked;
    }
    /// Second step, for each row that was fetched. Returns whether the row was asked for and is the first with its key.
    template <class RowSource>
    bool take(RowSource& source, handle_type row) {
        key_type key = source.key_of(row);
        // Rows often arrive in the order in which they were asked for.
        const slot_id number = m_at.keys.find(key, m_next);
        if (number == no_slot) {
            return false; // not asked for
        }
        m_next = number + 1;
        const slot_id position = m_at.missed[number];
        if (!m_at.places[position].is_missed() || m_at.fetched_handles[position]) {
            return false; // answered by memory, or the second row with that key
        }
        m_at.keys.replace(number, std::move(key)); // a row is remembered under its own key
        m_at.fetched_handles[position] = std::move(row);
        return true;
    }
    /// Third step: remembers what was fetched, and what turned out to be missing.
    template <class RowSource>
    void admit(RowSource& source) {
        if (!m_at.fetched.empty()) {
            add_fetched(source);
        }
        for (const slot_id position : m_at.duplicates) {
            const slot_id other = m_at.missed[m_at.places[position].number()];
            m_at.places[position] = m_at.places[other];
            m_at.handles[position] = m_at.handles[other];
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_at.places.size(); }
    /// After `resolve`: the key under which the row is remembered, or else the one asked for.
    [[nodiscard]] const key_type& key(slot_id position) const noexcept {
        const key_place place = m_at.places[position];
        return place.is_missed() ? m_at.keys[place.number()] : memo().key(place.slot());
    }
    /// The null handle if there is no such row. The handle stays where it is while this lives, as entries do not move.
    [[nodiscard]] const handle_type& handle(slot_id position) const noexcept { return *m_at.handles[position]; }
    /// Working memory that the passes share with this.
    [[nodiscard]] typename Memo::buffers_type& buffers() noexcept { return m_at; }

    /// Works out the order of last use. `uses`: positions in the order in which the objects use them. Passes over what
    /// is no position.
    void order(std::span<const slot_id> uses) {
        const std::size_t count = size();
        reserve(count);
        m_at.places.end()[0] = key_place();
        const key_place* const places = m_at.places.data();
        m_at.order_by_last_use(count, uses, [places](std::size_t position) { return places[position].slot(); });
    }

    /// Makes the changes permanent: entries are used in the order that `order` found. `count`: counters by the
    /// relations of `ask`.
    void commit(std::span<counters> count) noexcept {
        for (const slot_id position : m_at.fetched) {
            const key_place place = m_at.places[position];
            memo().fetched(place.is_missed() ? no_slot : place.slot());
        }
        memo().use({m_at.order.data(), m_at.order.size()});
        detail::count_keys(
            m_at.relations, size(), {m_at.fetched.data(), m_at.fetched.size()},
            [&](slot_id position) { return static_cast<bool>(handle(position)); }, count);
        m_committed = true;
    }

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

private:
    template <class RowSource>
    using traits = detail::row_source_traits<RowSource, handle_type, key_type>;
    static constexpr slot_id ahead = 8; // so many rows before a row is checked, its memory is asked for

    [[nodiscard]] Memo& memo() const noexcept { return m_pinned.table(); }

    void make_room(std::size_t count) {
        reserve(count < m_at.places.capacity() ? count : std::max(count, 2 * m_at.places.capacity()));
    }

    /// Numbers and pins entries that were found; passes over `no_slot`. There is no branch on whether an entry was
    /// found, nor on whether the chunk asked for it before: neither can be predicted, and a wrong guess costs some 20
    /// cycles.
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
    /// The same while another pass has the numbers of the table's entries.
    [[gnu::noinline]] void number_in_set(std::span<const slot_id> slots, std::span<slot_id* const> positions) {
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
    [[nodiscard]] static const handle_type& no_row() noexcept {
        static const handle_type none{};
        return none;
    }

    /// Looks again, as other code ran since the first key was asked for: entries may have left the memo, and others
    /// come.
    [[gnu::noinline]] void look_again() {
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

    /// Checks the rows found in memory. Those out of date are missed.
    template <class RowSource>
    void check(RowSource& source) {
        if constexpr (!traits<RowSource>::exchanges_rows && !traits<RowSource>::validates) {
            return;
        }
        const auto count = static_cast<slot_id>(size());
        if constexpr (traits<RowSource>::exchanges_rows) {
            m_at.fetched_handles.resize(count);
        }
        for (slot_id position = 0; position < count; ++position) {
            if constexpr (traits<RowSource>::prefetches) {
                for (int step = 0; step < 2; ++step) {
                    const slot_id next = position + ahead / (step == 0 ? 1 : 2);
                    if (next < count && !m_at.places[next].is_missed()) {
                        const slot_id slot = m_at.places[next].slot();
                        source.prefetch(memo().handle(slot), memo().key(slot), step);
                    }
                }
            }
            if (m_at.places[position].is_missed()) {
                continue;
            }
            const slot_id slot = m_at.places[position].slot();
            if constexpr (traits<RowSource>::exchanges_rows) {
                m_at.fetched_handles[position] = memo().handle(slot);
                m_at.handles[position] = &m_at.fetched_handles[position];
            }
            if constexpr (traits<RowSource>::validates) {
                if (handle(position) && !source.valid(handle(position), memo().key(slot))) {
                    miss(position);
                    if (memo().is_living(slot)) {
                        memo().forget(slot);
                    }
                    if constexpr (traits<RowSource>::exchanges_rows) {
                        m_at.fetched_handles[position] = handle_type{};
                    }
                }
            }
        }
    }

    void expect_rows() {
        m_at.fetched_handles.resize(size());
        if (m_at.fetched.size() == m_at.keys.size()) { // nearly always, and saves 18 instructions of the 600 of a miss
            m_at.asked.assign(m_at.keys.keys().begin(), m_at.keys.keys().end());
        } else {
            m_at.asked.reserve(m_at.fetched.size());
            for (const slot_id position : m_at.fetched) {
                m_at.asked.push_back(key(position));
            }
        }
        for (const slot_id position : m_at.fetched) {
            m_at.handles[position] = &m_at.fetched_handles[position];
        }
    }

    template <class RowSource>
    void add_fetched(RowSource& source) {
        const std::size_t count = m_at.fetched.size();
        vector_of<std::size_t> weights;
        if constexpr (traits<RowSource>::weighs) {
            if (memo().weighs()) {
                weights.reserve(count);
                for (const slot_id position : m_at.fetched) {
                    weights.push_back(source.weight(m_at.fetched_handles[position]));
                }
            }
        }
        m_at.added.reserve(count);
        const vector_of<slot_id> found = found_meanwhile();
        if constexpr (traits<RowSource>::exchanges_rows) {
            m_at.displaced.reserve(found.size());
        }
        memo().reserve_more(count);
        if (memo().generation() != m_generation) {
            return; // declared out of date since it was asked for: use it for this chunk only
        }
        // From here on nothing throws and no foreign code runs.
        for (std::size_t at = 0; at < count; ++at) {
            const slot_id position = m_at.fetched[at];
            handle_type& row = m_at.fetched_handles[position];
            slot_id slot = found.empty() ? no_slot : found[at];
            if (slot != no_slot && row && memo().is_absent(slot)) {
                memo().erase(slot);
                slot = no_slot;
            }
            if (slot != no_slot) {
                memo().pin(slot);
                m_at.places[position] = key_place(slot);
                if (row && memo().handle(slot)) { // one row is one instance
                    m_at.handles[position] = &memo().handle(slot);
                    if constexpr (traits<RowSource>::exchanges_rows) {
                        m_at.displaced.push_back(std::exchange(row, memo().handle(slot)));
                        m_at.handles[position] = &row;
                    }
                }
                continue;
            }
            const slot_id number = m_at.places[position].number();
            const std::uint32_t tag = m_at.keys.tags()[number];
            slot = row ? memo().add_row(m_at.keys.take(number), tag,
                                        traits<RowSource>::exchanges_rows ? row : std::move(row))
                       : memo().add_missing(m_at.keys.take(number), tag);
            if (!weights.empty()) {
                memo().weigh(slot, weights[at]);
            }
            memo().pin(slot);
            m_at.added.append(slot);
            m_at.places[position] = key_place(slot);
            if constexpr (!traits<RowSource>::exchanges_rows) {
                m_at.handles[position] = &memo().handle(slot);
            }
        }
    }

    /// By fetched key: the entry that was added since the key was missed. Empty if no other chunk ran during the fetch.
    [[nodiscard]] vector_of<slot_id> found_meanwhile() const {
        vector_of<slot_id> found;
        if (memo().version() == m_version) {
            return found;
        }
        found.resize(m_at.fetched.size());
        for (std::uint64_t version = memo().version() - 1; version != memo().version();) {
            version = memo().version();
            for (std::size_t at = 0; at < found.size(); ++at) {
                const slot_id number = m_at.places[m_at.fetched[at]].number();
                found[at] = memo().find(m_at.keys[number], m_at.keys.tags()[number]);
            }
        }
        return found;
    }

    pinned<Memo> m_pinned; // first, so that it is destroyed last. Holds the pins of entries found out of date
    bool m_numbers_entries;
    bool m_pins = true; // whether the entries in m_at.places are pinned
    std::uint64_t m_generation;
    std::uint64_t m_version; // of the memo, before anything was looked up
    slot_id m_next = 0;      // number of the missed key whose row is likely to come next
    typename Memo::buffers_type m_at;
    bool m_committed = false;
};

/// The class that resolves keys in a table of type `Memo`. Tables of another kind specialise it.
template <class Memo>
struct resolution_of {
    using type = key_resolution<Memo>;
};
template <class Memo>
using resolution_of_t = typename resolution_of<Memo>::type;

} // namespace memoized_prefetch
