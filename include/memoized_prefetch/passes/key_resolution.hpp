/// key_resolution: finds the rows for the keys that one chunk asks for, in memory or by one fetch for the rest.
///
///   ask ... ask -> [distinct keys] -> resolve: memory | fetch -> handle(position)   -> commit
///                                                                                 (or destroyed: rolled back)
///
/// It pins the entries it uses while it lives. Until `commit` the order of use stays as it was. If an exception ends the
/// pass, the destructor takes out the entries that `resolve` added.
///
/// A *row source* reads rows; see row_source_traits.hpp.
#pragma once

#include <memoized_prefetch/passes/asked_keys.hpp>
#include <memoized_prefetch/passes/counters.hpp>
#include <memoized_prefetch/passes/key_counts.hpp>
#include <memoized_prefetch/passes/row_source_traits.hpp>

#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Memo>
class key_resolution : public asked_keys<Memo> {
    using base = asked_keys<Memo>;

public:
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<allocator_type>::template rebind_alloc<T>>;
    using base::handle;
    using base::release;
    using base::reserve;
    using base::size;
    using base::unpin;

    explicit key_resolution(Memo& rows) noexcept : base(rows), m_generation(rows.generation()) {}
    key_resolution(const key_resolution&) = delete;
    key_resolution& operator=(const key_resolution&) = delete;
    key_resolution(key_resolution&&) = delete;
    key_resolution& operator=(key_resolution&&) = delete;
    ~key_resolution() {
        if (!m_committed) {
            roll_back();
        }
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
        if (is_changed()) {
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

    /// After `resolve`: the key under which the row is remembered, or else the one asked for.
    [[nodiscard]] const key_type& key(slot_id position) const noexcept {
        const key_place place = m_at.places[position];
        return place.is_missed() ? m_at.keys[place.number()] : memo().key(place.slot());
    }
    /// Works out the order of last use. `uses`: positions in the order in which the objects use them. Other values are
    /// skipped.
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

private:
    using base::is_changed;
    using base::look_again;
    using base::m_at;
    using base::memo;
    using base::miss;
    template <class RowSource>
    using traits = detail::row_source_traits<RowSource, handle_type, key_type>;
    static constexpr slot_id ahead = 8; // so many rows before a row is checked, its memory is asked for

    /// Checks the rows found in memory. Those that are out of date become misses.
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

    /// By fetched key: the entry that another chunk has added meanwhile. Empty if none ran during the fetch.
    [[nodiscard]] vector_of<slot_id> found_meanwhile() const {
        vector_of<slot_id> found;
        if (!is_changed()) {
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

    std::uint64_t m_generation; // of the memo, before anything was looked up
    slot_id m_next = 0;         // number of the missed key whose row is likely to come next
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
