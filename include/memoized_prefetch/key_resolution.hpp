/// key_resolution: from the keys that one chunk asks for to rows: what memory knows, and one fetch for the rest.
///
///   ask ... ask -> [distinct keys, first-seen order] -> resolve: memory | fetch -> handle(position)   -> commit
///                                                                                 (or destroyed: rolled back)
///
/// All entries used are pinned while this lives. Until `commit` nothing about the memo shows that it was used: the order
/// is untouched, and entries added by `resolve` are taken out again by the destructor if an exception ends the pass.
///
/// A *row source* says how rows are read (`Handle` and `Key` are the memo's):
///   fetch(const std::vector<Key>& asked, take)  calls take(Handle) for rows in any order; some may be missing or not asked
///                                               for; `take` tells whether it keeps the row
///   key_of(const Handle& row) -> Key            the value that the row is found by
///   prefetch(const Handle& row, const Key&, int step)  optional: starts to load what `valid` will look at; called twice, the
///                                               second time (step 1) when what the first asked for should be there
///   valid(const Handle& row, const Key&) -> bool  optional: whether a remembered row still has that key
///   exchanges_rows = true                       optional constant: another handle may be put in the place of one that this pass
///                                               uses; then it holds handles of its own, which costs counting the references
///   knows_all() -> bool                         optional: keys that are not in the memo have no row, and are not fetched
///   weight(const Handle& row) -> std::size_t    optional: of a row to be remembered, or of the null handle for an absence
#pragma once

#include <memoized_prefetch/counters.hpp>
#include <memoized_prefetch/key_set.hpp>
#include <memoized_prefetch/memo_table.hpp>

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
        : m_pinned(memo), m_generation(memo.generation()), m_at(memo.take_buffers()) {}
    key_resolution(const key_resolution&) = delete;
    key_resolution& operator=(const key_resolution&) = delete;
    key_resolution(key_resolution&&) = delete;
    key_resolution& operator=(key_resolution&&) = delete;
    ~key_resolution() {
        if (!m_committed) {
            roll_back();
        }
        m_at.clear();
        memo().keep_buffers(std::move(m_at));
    }

    /// Takes back what `resolve` added and ends the pins; the bound is re-established by `release` or the destructor.
    void roll_back() noexcept {
        for (const slot_id slot : m_at.added) {
            if (memo().living(slot) && memo().pins(slot) == 1) { // another chunk that pinned it relies on it by now
                memo().erase(slot);
            }
        }
        m_at.added.clear();
        m_pinned.unpin();
    }

    /// The position of a key. The first relation that asks for a key is the one whose counters it goes to.
    slot_id ask(key_type key, std::uint32_t relation) {
        const slot_id position = m_at.keys.add(std::move(key));
        if (position == m_at.relations.size()) {
            m_at.relations.reserve(m_at.keys.room());
            m_at.relations.append(relation);
        }
        return position;
    }

    /// Makes room for `count` keys in all.
    void reserve(std::size_t count) {
        m_at.keys.reserve(count);
        m_at.relations.reserve(count);
    }

    template <class RowSource>
    void resolve(RowSource& source) {
        look_up(source);
        if constexpr (requires { source.knows_all(); }) {
            if (source.knows_all()) {
                m_at.missed.clear();
            }
        }
        if (!m_at.missed.empty()) {
            fetch(source);
            admit(source);
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_at.keys.size(); }
    /// After `resolve`: the key that the row is remembered by, or the one asked for.
    [[nodiscard]] const key_type& key(slot_id position) const noexcept {
        const slot_id slot = m_at.slots[position];
        return slot != no_slot ? memo().key(slot) : m_at.keys[position];
    }
    /// The null handle when there is no such row. Stays where it is while this lives: the memo's entries do, and are pinned.
    [[nodiscard]] const handle_type& handle(slot_id position) const noexcept { return *m_at.handles[position]; }
    /// Room for those who use this.
    [[nodiscard]] typename Memo::buffers_type& buffers() noexcept { return m_at; }

    /// Works out the order of last use: `uses` are positions in the order in which the objects use them;
    /// what is no position is passed over.
    void order(std::span<const slot_id> uses) {
        m_at.order.clear();
        const std::size_t count = m_at.keys.size();
        m_at.order.reserve(count);
        m_at.seen.clear();
        m_at.seen.resize(count, 0);
        for (std::size_t at = uses.size(); at-- > 0;) {
            const slot_id position = uses[at];
            if (position < count && m_at.seen[position] == 0) {
                m_at.seen[position] = 1;
                m_at.order.append(m_at.slots[position]);
            }
        }
    }

    /// Makes it last: recency as `order` found it, and `count` gets what each relation did (by the numbers given to `ask`).
    void commit(std::span<counters> count) noexcept {
        for (const slot_id position : m_at.missed) {
            memo().fetched(m_at.slots[position]);
        }
        memo().use_all(m_at.order);
        for (std::size_t at = 0; at < m_at.relations.size();) {
            const std::uint32_t relation = m_at.relations[at];
            const std::size_t first = at;
            while (at < m_at.relations.size() && m_at.relations[at] == relation) {
                ++at;
            }
            count[relation].hits += at - first;
        }
        for (const slot_id position : m_at.missed) {
            counters& relation = count[m_at.relations[position]];
            --relation.hits;
            ++relation.misses;
            ++(handle(position) ? relation.fetched : relation.missing);
        }
        m_committed = true;
    }

    /// Ends the pins and leaves the rest to `release`.
    void unpin() noexcept { m_pinned.unpin(); }
    /// Ends the pins; returns how many entries the memo evicted then.
    std::size_t release() noexcept { return m_pinned.release(); }

private:
    template <class RowSource>
    static constexpr bool holds_own = requires {
        requires RowSource::exchanges_rows;
    };
    static constexpr slot_id ahead = 8; // rows between asking for their memory and looking at them

    [[nodiscard]] Memo& memo() const noexcept { return m_pinned.table(); }

    template <class RowSource>
    void look_up(RowSource& source) {
        static const handle_type none{};
        const auto count = static_cast<slot_id>(m_at.keys.size());
        m_at.handles.resize(count, &none);
        m_at.slots.resize(count, no_slot);
        m_at.missed.reserve(count);
        if constexpr (holds_own<RowSource>) {
            m_at.own.resize(count);
        }
        m_pinned.reserve_more(count);
        m_version = memo().version();
        memo().find_all(m_at.keys.keys(), m_at.keys.tags(), [&](std::size_t position, slot_id slot) {
            m_at.slots[position] = slot;
            if (slot != no_slot) {
                m_pinned.add(slot);
            }
        });
        for (slot_id position = 0; position < count; ++position) {
            if constexpr (requires { source.prefetch(none, m_at.keys[0], 0); }) {
                for (int step = 0; step < 2; ++step) {
                    const slot_id next = position + ahead / (step == 0 ? 1 : 2);
                    if (next < count && m_at.slots[next] != no_slot) {
                        source.prefetch(memo().handle(m_at.slots[next]), memo().key(m_at.slots[next]), step);
                    }
                }
            }
            const slot_id slot = m_at.slots[position];
            if (slot == no_slot) {
                m_at.missed.append(position);
                continue;
            }
            m_at.handles[position] = &memo().handle(slot);
            if constexpr (holds_own<RowSource>) {
                m_at.own[position] = memo().handle(slot);
                m_at.handles[position] = &m_at.own[position];
            }
            if constexpr (requires { source.valid(none, m_at.keys[0]); }) {
                if (handle(position) && !source.valid(handle(position), m_at.keys[position])) {
                    if (memo().living(slot)) {
                        memo().forget(slot);
                    }
                    m_at.slots[position] = no_slot;
                    m_at.handles[position] = &none;
                    m_at.missed.append(position);
                    if constexpr (holds_own<RowSource>) {
                        m_at.own[position] = handle_type{};
                    }
                }
            }
        }
    }

    template <class RowSource>
    void fetch(RowSource& source) {
        m_at.own.resize(m_at.keys.size());
        m_at.asked.reserve(m_at.missed.size());
        for (const slot_id position : m_at.missed) {
            m_at.asked.push_back(m_at.keys[position]);
            m_at.handles[position] = &m_at.own[position];
        }
        source.fetch(std::as_const(m_at.asked), [&](handle_type row) {
            key_type key = source.key_of(row);
            const slot_id position = m_at.keys.find(key);
            if (position == no_slot || m_at.slots[position] != no_slot || m_at.own[position]) {
                return false; // not asked for, answered by memory, or the second row with that key
            }
            m_at.keys.replace(position, std::move(key)); // a row is remembered under its own value
            m_at.own[position] = std::move(row);
            return true;
        });
    }

    template <class RowSource>
    void admit(RowSource& source) {
        const std::size_t count = m_at.missed.size();
        vector_of<std::size_t> weights;
        if constexpr (requires { source.weight(handle(0)); }) {
            if (memo().weighs()) {
                weights.reserve(count);
                for (const slot_id position : m_at.missed) {
                    weights.push_back(source.weight(m_at.own[position]));
                }
            }
        }
        m_at.added.reserve(count);
        m_pinned.reserve_more(count);
        const vector_of<slot_id> found = found_meanwhile();
        if constexpr (holds_own<RowSource>) {
            m_at.replaced.reserve(found.size());
        }
        memo().reserve_more(count);
        if (memo().generation() != m_generation) {
            return; // declared out of date since it was asked for: good for this chunk only
        }
        // From here on nothing throws and no foreign code runs.
        for (std::size_t at = 0; at < count; ++at) {
            const slot_id position = m_at.missed[at];
            handle_type& row = m_at.own[position];
            slot_id slot = found.empty() ? no_slot : found[at];
            if (slot != no_slot && row && memo().missing(slot)) {
                memo().erase(slot);
                slot = no_slot;
            }
            if (slot != no_slot) {
                m_pinned.add(slot);
                m_at.slots[position] = slot;
                if (row && memo().handle(slot)) { // one row is one instance
                    m_at.handles[position] = &memo().handle(slot);
                    if constexpr (holds_own<RowSource>) {
                        m_at.replaced.push_back(std::exchange(row, memo().handle(slot)));
                        m_at.handles[position] = &row;
                    }
                }
                continue;
            }
            const std::uint32_t tag = m_at.keys.tags()[position];
            slot = row ? memo().add_row(m_at.keys.take(position), tag, holds_own<RowSource> ? row : std::move(row))
                       : memo().add_missing(m_at.keys.take(position), tag);
            if (!weights.empty()) {
                memo().weigh(slot, weights[at]);
            }
            m_pinned.add(slot);
            m_at.added.append(slot);
            m_at.slots[position] = slot;
            if constexpr (!holds_own<RowSource>) {
                m_at.handles[position] = &memo().handle(slot);
            }
        }
    }

    /// By miss: the entry that came into the memo since it was missed, when another chunk ran during the fetch. Empty when
    /// none did.
    [[nodiscard]] vector_of<slot_id> found_meanwhile() const {
        vector_of<slot_id> found;
        if (memo().version() == m_version) {
            return found;
        }
        found.resize(m_at.missed.size());
        for (std::uint64_t version = memo().version() - 1; version != memo().version();) {
            version = memo().version();
            for (std::size_t at = 0; at < found.size(); ++at) {
                const slot_id position = m_at.missed[at];
                found[at] = memo().find(m_at.keys[position], m_at.keys.tags()[position]);
            }
        }
        return found;
    }

    pinned<Memo> m_pinned; // first: its destructor runs last, after a rollback
    std::uint64_t m_generation;
    std::uint64_t m_version = 0; // of the memo, before anything was looked up
    typename Memo::buffers_type m_at;
    bool m_committed = false;
};

} // namespace memoized_prefetch
