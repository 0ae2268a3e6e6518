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

    explicit key_resolution(Memo& memo) : m_pinned(memo), m_generation(memo.generation()) {}
    key_resolution(const key_resolution&) = delete;
    key_resolution& operator=(const key_resolution&) = delete;
    key_resolution(key_resolution&&) = delete;
    key_resolution& operator=(key_resolution&&) = delete;
    ~key_resolution() {
        if (!m_committed) {
            roll_back();
        }
    }

    /// Takes back what `resolve` added and ends the pins; the bound is re-established by `release` or the destructor.
    void roll_back() noexcept {
        for (const slot_id slot : m_added) {
            if (memo().living(slot) && memo().pins(slot) == 1) { // another chunk that pinned it relies on it by now
                memo().erase(slot);
            }
        }
        m_added.clear();
        m_pinned.unpin();
    }

    /// The position of a key. The first relation that asks for a key is the one whose counters it goes to.
    slot_id ask(key_type key, std::uint32_t relation) {
        const slot_id position = m_keys.add(std::move(key));
        if (position == m_relations.size()) {
            m_relations.push_back(relation);
        }
        return position;
    }

    /// Makes room for `count` keys in all.
    void reserve(std::size_t count) {
        m_keys.reserve(count);
        m_relations.reserve(count);
    }

    template <class RowSource>
    void resolve(RowSource& source) {
        look_up(source);
        if constexpr (requires { source.knows_all(); }) {
            if (source.knows_all()) {
                m_missed.clear();
            }
        }
        if (!m_missed.empty()) {
            fetch(source);
            admit(source);
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_keys.size(); }
    [[nodiscard]] const key_type& key(slot_id position) const noexcept { return m_keys[position]; }
    /// The null handle when there is no such row.
    [[nodiscard]] const handle_type& handle(slot_id position) const noexcept { return m_handles[position]; }

    /// Works out the order of last use: `uses` are positions in the order in which the objects use them;
    /// what is no position is passed over.
    void order(std::span<const slot_id> uses) {
        m_order.clear();
        m_order.reserve(m_keys.size());
        vector_of<bool> seen(m_keys.size());
        for (std::size_t at = uses.size(); at-- > 0;) {
            const slot_id position = uses[at];
            if (position < m_keys.size() && !seen[position]) {
                seen[position] = true;
                m_order.push_back(m_slots[position]);
            }
        }
    }

    /// Makes it last: recency as `order` found it, and `count` gets what each relation did (by the numbers given to `ask`).
    void commit(std::span<counters> count) noexcept {
        for (const slot_id position : m_missed) {
            memo().fetched(m_slots[position]);
        }
        for (std::size_t at = m_order.size(); at-- > 0;) {
            if (m_order[at] != no_slot) {
                memo().use(m_order[at]);
            }
        }
        for (const std::uint32_t relation : m_relations) {
            ++count[relation].hits;
        }
        for (const slot_id position : m_missed) {
            counters& relation = count[m_relations[position]];
            --relation.hits;
            ++relation.misses;
            ++(m_handles[position] ? relation.fetched : relation.missing);
        }
        m_committed = true;
    }

    /// Ends the pins and leaves the rest to `release`.
    void unpin() noexcept { m_pinned.unpin(); }
    /// Ends the pins; returns how many entries the memo evicted then.
    std::size_t release() noexcept { return m_pinned.release(); }

private:
    static constexpr slot_id ahead = 8; // look-ups between asking for memory and using it

    [[nodiscard]] Memo& memo() const noexcept { return m_pinned.table(); }

    template <class RowSource>
    void look_up(RowSource& source) {
        const auto count = static_cast<slot_id>(m_keys.size());
        m_handles.resize(count);
        m_slots.resize(count, no_slot);
        m_pinned.reserve_more(count);
        // Memos and rows are larger than the caches: what is needed next is loaded while the present is worked on.
        for (slot_id position = 0; position < count; ++position) {
            if (position + ahead < count) {
                memo().prefetch(m_keys[position + ahead]);
            }
            m_slots[position] = memo().find(m_keys[position]);
            if (m_slots[position] != no_slot) {
                m_pinned.add(m_slots[position]);
            }
        }
        for (slot_id position = 0; position < count; ++position) {
            if constexpr (requires { source.prefetch(m_handles[0], m_keys[0], 0); }) {
                for (int step = 0; step < 2; ++step) {
                    const slot_id next = position + ahead / (step == 0 ? 1 : 2);
                    if (next < count && m_slots[next] != no_slot) {
                        source.prefetch(memo().handle(m_slots[next]), memo().key(m_slots[next]), step);
                    }
                }
            }
            const slot_id slot = m_slots[position];
            if (slot == no_slot) {
                m_missed.push_back(position);
                continue;
            }
            m_handles[position] = memo().handle(slot);
            if constexpr (requires { source.valid(m_handles[0], m_keys[0]); }) {
                if (m_handles[position] && !source.valid(m_handles[position], m_keys[position])) {
                    if (memo().living(slot)) {
                        memo().forget(slot);
                    }
                    m_slots[position] = no_slot;
                    m_handles[position] = handle_type{};
                    m_missed.push_back(position);
                }
            }
        }
    }

    template <class RowSource>
    void fetch(RowSource& source) {
        std::vector<key_type, typename std::allocator_traits<allocator_type>::template rebind_alloc<key_type>> asked;
        asked.reserve(m_missed.size());
        for (const slot_id position : m_missed) {
            asked.push_back(m_keys[position]);
        }
        source.fetch(asked, [&](handle_type row) {
            key_type key = source.key_of(row);
            const slot_id position = m_keys.find(key);
            if (position == no_slot || m_slots[position] != no_slot || m_handles[position]) {
                return false; // not asked for, answered by memory, or the second row with that key
            }
            m_keys.replace(position, std::move(key)); // a row is remembered under its own value
            m_handles[position] = std::move(row);
            return true;
        });
    }

    template <class RowSource>
    void admit(RowSource& source) {
        const std::size_t count = m_missed.size();
        struct entry {
            key_type key;
            handle_type handle;
            std::uint32_t tag;
            slot_id found; // by another chunk that ran during the fetch
            std::size_t weight;
        };
        vector_of<entry> entries;
        entries.reserve(count);
        for (const slot_id position : m_missed) {
            entries.push_back({m_keys[position], m_handles[position], Memo::tag_of(m_keys[position]), no_slot, 0});
            if constexpr (requires { source.weight(m_handles[0]); }) {
                entries.back().weight = source.weight(m_handles[position]);
            }
        }
        m_added.reserve(count);
        m_pinned.reserve_more(count);
        for (std::uint64_t version = memo().version() - 1; version != memo().version();) {
            version = memo().version();
            for (entry& one : entries) {
                one.found = memo().find(one.key, one.tag);
            }
        }
        memo().reserve_more(count);
        if (memo().generation() != m_generation) {
            return; // declared out of date since it was asked for: good for this chunk only
        }
        // From here on nothing throws and no foreign code runs.
        for (std::size_t at = 0; at < count; ++at) {
            entry& one = entries[at];
            const slot_id position = m_missed[at];
            if (one.found != no_slot && one.handle && memo().missing(one.found)) {
                memo().erase(one.found);
                one.found = no_slot;
            }
            if (one.found != no_slot) {
                m_pinned.add(one.found);
                if (one.handle && memo().handle(one.found)) {
                    m_handles[position] =
                        memo().handle(one.found); // one row is one instance; `one` keeps ours meanwhile
                }
                m_slots[position] = one.found;
                continue;
            }
            const bool there = static_cast<bool>(one.handle);
            const slot_id slot = there ? memo().add_row(std::move(one.key), one.tag, std::move(one.handle))
                                       : memo().add_missing(std::move(one.key), one.tag);
            memo().weigh(slot, one.weight);
            m_pinned.add(slot);
            m_added.push_back(slot);
            m_slots[position] = slot;
        }
    }

    pinned<Memo> m_pinned; // first: its destructor runs last, after a rollback
    std::uint64_t m_generation;
    key_set<key_type, typename Memo::traits_type, allocator_type> m_keys;
    vector_of<std::uint32_t> m_relations; // by position: who asked first
    vector_of<handle_type> m_handles;     // by position
    vector_of<slot_id> m_slots;           // by position: the memo's entry
    vector_of<slot_id> m_missed;          // positions
    vector_of<slot_id> m_added;           // slots
    vector_of<slot_id> m_order;           // slots, most recently used first
    bool m_committed = false;
};

} // namespace memoized_prefetch
