/// to_many_pass: attaches to every object the rows that its links lead to, in the order and with the duplicates of the
/// links.
///
/// A *link source* has `fetch(const std::vector<SourceKey>& asked, take)`, which calls take(SourceKey, TargetKey) for each
/// link, in order within a source. `attach(i, rows)` of the object model gets a range of non-null handles: targets
/// without a row are left out.
#pragma once

#include <memoized_prefetch/passes/key_reading.hpp>
#include <memoized_prefetch/passes/key_resolution.hpp>
#include <memoized_prefetch/tables/link_table.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Links, class Memo>
class to_many_pass {
public:
    using source_type = typename Links::key_type;
    using target_type = typename Links::target_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = typename resolution_of_t<Memo>::template vector_of<T>;

    to_many_pass(Links& links, Memo& memo) : m_pinned(links), m_generation(links.generation()), m_rows(memo) {}
    to_many_pass(const to_many_pass&) = delete;
    to_many_pass& operator=(const to_many_pass&) = delete;
    to_many_pass(to_many_pass&&) = delete;
    to_many_pass& operator=(to_many_pass&&) = delete;
    ~to_many_pass() {
        if (!m_committed) {
            roll_back();
        }
    }

    /// Like key_resolution::roll_back, for links and rows.
    void roll_back() noexcept {
        m_rows.roll_back();
        for (const slot_id slot : m_added) {
            if (links().is_living(slot) && links().pins(slot) == 1) {
                links().erase(slot);
            }
        }
        m_added.clear();
        m_pinned.unpin();
    }

    /// `deferred`: gets the numbers of objects whose key is not loaded. Null: such a key is an error.
    template <class Objects>
    void collect(Objects& objects, vector_of<std::size_t>* deferred = nullptr) {
        collect(objects, detail::all_of{objects.size()}, deferred);
    }
    /// Collects the keys that were deferred, now that they are loaded.
    template <class Objects>
    void collect_loaded(Objects& objects, const vector_of<std::size_t>& loaded) {
        collect(objects, loaded, static_cast<vector_of<std::size_t>*>(nullptr));
    }

    /// Finds the links, then the rows that they lead to.
    template <class LinkSource, class RowSource>
    void resolve(LinkSource& link_source, RowSource& row_source) {
        const vector_of<source_type>& asked = missing_links();
        if (!asked.empty()) {
            link_source.fetch(asked,
                              [&](source_type from, target_type to) { take_link(std::move(from), std::move(to)); });
        }
        ask();
        m_rows.resolve(row_source);
        admit_links();
    }
    /// The steps of `resolve`, for a caller that fetches links and rows itself: `missing_links`, `take_link` for each
    /// link that was fetched, `missing`, `take` for each row, `admit`.
    [[nodiscard]] const vector_of<source_type>& missing_links() {
        look_up();
        m_asked.reserve(m_missed.size());
        for (const slot_id position : m_missed) {
            m_asked.push_back(m_sources[position]);
        }
        return m_asked;
    }
    void take_link(source_type from, target_type to) {
        const slot_id position = m_sources.find(from);
        if (position != no_slot && m_slots[position] == no_slot) { // otherwise it was not asked for
            m_fetched.push_back({position, m_keys.add(std::move(to))});
            ++m_ranges[position].count;
        }
    }
    template <class RowSource>
    [[nodiscard]] const vector_of<target_type>& missing(RowSource& source) {
        ask();
        return m_rows.missing(source);
    }
    template <class RowSource>
    bool take(RowSource& source, handle_type row) {
        return m_rows.take(source, std::move(row));
    }
    template <class RowSource>
    void admit(RowSource& source) {
        m_rows.admit(source);
        admit_links();
    }

    template <class Objects>
    void attach(Objects& objects) {
        vector_of<const handle_type*> rows;
        for (std::size_t object = 0; object < m_positions.size(); ++object) {
            const slot_id source = m_positions[object];
            if (source == no_slot) {
                continue;
            }
            rows.clear();
            if (source != detail::null_slot) {
                const link_range range = m_ranges[source];
                for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                    if (const handle_type& row = m_rows.handle(m_targets[at])) {
                        rows.push_back(&row);
                    }
                }
            }
            objects.attach(object, std::span<const handle_type* const>(rows));
        }
    }

    /// `rows` counts target rows, `link_count` sources.
    void commit(counters& rows, counters& link_count) noexcept {
        for (const slot_id position : m_missed) {
            links().fetched(m_slots[position]);
        }
        links().use(m_order);
        link_count.requests += m_requests;
        link_count.hits += m_sources.size() - m_missed.size();
        link_count.misses += m_missed.size();
        link_count.fetched += m_fetched.size();
        rows.requests += m_uses.size();
        m_rows.commit({&rows, 1});
        m_committed = true;
    }

    void unpin() noexcept {
        m_rows.unpin();
        m_pinned.unpin();
    }
    std::size_t release_rows() noexcept { return m_rows.release(); }
    std::size_t release_links() noexcept { return m_pinned.release(); }

private:
    struct link {
        slot_id source; // position among the sources
        slot_id target; // as in m_targets
    };
    [[nodiscard]] Links& links() const noexcept { return m_pinned.table(); }

    template <class Objects, class Numbers>
    void collect(Objects& objects, const Numbers& which, vector_of<std::size_t>* deferred) {
        m_requests +=
            detail::collect_keys<source_type, allocator_type>(objects, which, deferred, m_sources, m_positions);
    }

    void look_up() {
        const std::size_t count = m_sources.size();
        m_slots.resize(count, no_slot);
        m_ranges.resize(count);
        m_pinned.reserve_more(count);
        links().find_all(m_sources.keys(), m_sources.tags(),
                         [&](std::size_t begin, std::span<const slot_id> slots, const auto&) {
                             for (std::size_t at = 0; at < slots.size(); ++at) {
                                 m_slots[begin + at] = slots[at];
                                 if (slots[at] != no_slot) {
                                     m_pinned.add(slots[at]);
                                 }
                             }
                         });
        for (slot_id position = 0; position < count; ++position) {
            const slot_id slot = m_slots[position];
            if (slot == no_slot) {
                m_missed.push_back(position);
                continue;
            }
            m_ranges[position].begin = m_targets.size();
            // Ask for the targets anew each time: `add` may compare keys by foreign code, which may move them.
            for (std::size_t at = 0; at < links().targets(slot).size(); ++at) {
                m_targets.push_back(m_keys.add(target_type(links().targets(slot)[at])));
            }
            m_ranges[position].count = m_targets.size() - m_ranges[position].begin;
        }
    }

    /// A stable counting sort of the links by source: those of one source may be interleaved with those of others.
    void sort_links() {
        std::size_t begin = m_targets.size();
        for (const slot_id position : m_missed) {
            m_ranges[position].begin = begin;
            begin += m_ranges[position].count;
            m_ranges[position].count = 0;
        }
        m_targets.resize(begin);
        for (const link& one : m_fetched) {
            link_range& range = m_ranges[one.source];
            m_targets[range.begin + range.count++] = one.target;
        }
    }

    /// Asks for the rows. This comes after the query for links, which may run code that changes the memo.
    void ask() {
        sort_links();
        vector_of<slot_id> found(m_keys.size());
        constexpr std::uint32_t relation = 0;
        constexpr std::size_t most = resolution_of_t<Memo>::most_asked;
        std::array<target_type, most> keys{};
        std::array<slot_id*, most> positions; // NOLINT(*-member-init): written before read
        for (std::size_t begin = 0; begin < found.size(); begin += most) {
            const std::size_t count = std::min(most, found.size() - begin);
            for (std::size_t at = 0; at < count; ++at) {
                keys[at] = m_keys.take(static_cast<slot_id>(begin + at));
                positions[at] = &found[begin + at];
            }
            m_rows.ask({keys.data(), count}, {&relation, 1}, {positions.data(), count});
        }
        for (slot_id& target : m_targets) {
            target = found[target];
        }
    }

    void admit_links() {
        if (!m_missed.empty()) {
            add_links();
        }
        order();
    }
    void add_links() {
        const std::size_t count = m_missed.size();
        vector_of<source_type> sources;
        vector_of<target_type> targets;
        sources.reserve(count);
        targets.reserve(m_fetched.size());
        const std::span<const std::uint32_t> tags = m_sources.tags(); // by source
        for (const slot_id position : m_missed) {
            sources.push_back(m_sources[position]);
            const link_range range = m_ranges[position];
            for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                targets.push_back(m_rows.key(m_targets[at]));
            }
        }
        vector_of<slot_id> found(count);
        m_added.reserve(count);
        m_pinned.reserve_more(count);
        for (std::uint64_t version = links().version() - 1; version != links().version();) {
            version = links().version();
            for (std::size_t at = 0; at < count; ++at) {
                found[at] = links().find(sources[at], tags[m_missed[at]]);
            }
        }
        links().reserve_links(count, targets.size());
        if (links().generation() != m_generation) {
            return; // declared out of date since they were asked for: use them for this chunk only
        }
        // From here on nothing throws and no foreign code runs.
        std::size_t next = 0;
        for (std::size_t at = 0; at < count; ++at) {
            const slot_id position = m_missed[at];
            const std::size_t end = next + m_ranges[position].count;
            slot_id slot = found[at];
            if (slot == no_slot) {
                slot = links().add_source(std::move(sources[at]), tags[position]);
                for (; next != end; ++next) {
                    links().add_target(slot, std::move(targets[next]));
                }
                m_added.push_back(slot);
            }
            next = end;
            m_pinned.add(slot);
            m_slots[position] = slot;
        }
    }

    void order() {
        m_uses.reserve(m_targets.size());
        for (const slot_id source : m_positions) {
            if (source < detail::null_slot) {
                const link_range range = m_ranges[source];
                for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                    m_uses.push_back(m_targets[at]);
                }
            }
        }
        m_rows.order(m_uses);
        m_order.reserve(m_sources.size());
        vector_of<bool> seen(m_sources.size());
        for (std::size_t at = m_positions.size(); at-- > 0;) {
            const slot_id position = m_positions[at];
            if (position < detail::null_slot && !seen[position]) {
                seen[position] = true;
                m_order.push_back(m_slots[position]);
            }
        }
    }

    pinned<Links> m_pinned;
    std::uint64_t m_generation;
    resolution_of_t<Memo> m_rows;
    key_set<source_type, typename Links::traits_type, allocator_type> m_sources;
    vector_of<slot_id> m_positions;                                          // by object: its source
    vector_of<slot_id> m_slots;                                              // by source: its entry
    vector_of<link_range> m_ranges;                                          // by source: within m_targets
    key_set<target_type, typename Memo::traits_type, allocator_type> m_keys; // of rows
    vector_of<source_type> m_asked;                                          // sources whose links are fetched
    vector_of<link> m_fetched;
    vector_of<slot_id> m_targets; // numbers in m_keys; once these were asked for, positions among the rows
    vector_of<slot_id> m_missed;  // sources
    vector_of<slot_id> m_added;   // slots
    vector_of<slot_id> m_order;   // slots, most recently used first
    vector_of<slot_id> m_uses;    // targets in the order of the objects
    std::uint64_t m_requests = 0;
    bool m_committed = false;
};

} // namespace memoized_prefetch
