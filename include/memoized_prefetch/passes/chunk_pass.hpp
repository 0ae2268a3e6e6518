/// The chunk algorithm: collect the keys of a chunk's objects in one pass, resolve them with at most one fetch per table,
/// attach the rows. `to_one_pass` for keys held by the objects, `to_many_pass` for links between them.
///
/// Objects are reached through an *object model*, so that the same code serves C++ structs and Python's model instances:
///   size() -> std::size_t          how many objects
///   width() -> std::size_t         how many relations each has that lead to this table (to_one only)
///   read(i, std::span<key_reading<Key>>)  the keys of object i, one per relation   (to_many: a single reading)
///   attach(i, ...)                 see the passes
///   load_deferred(std::span<const std::size_t> objects)   optional: called once with the objects whose key is not loaded;
///                                  they are read again afterwards
///
/// A pass pins what it uses until it is destroyed. It is used in the order collect.., resolve, attach.., commit; when an
/// exception ends it before `commit`, the tables are as before.
#pragma once

#include <memoized_prefetch/detail/misuse.hpp>
#include <memoized_prefetch/passes/key_resolution.hpp>
#include <memoized_prefetch/tables/link_table.hpp>

#include <array>

namespace memoized_prefetch {

enum class key_state : std::uint8_t {
    null,     ///< the object has no key: "none" is attached
    present,  ///< the object has a key
    attached, ///< the relation has been attached before: the object is left alone
    deferred, ///< the key has to be loaded first
};

template <class Key>
struct key_reading {
    key_state state = key_state::null;
    Key key{};
};

namespace detail {

inline constexpr slot_id null_slot = no_slot - 1; // in place of a position: the object has no key

/// Reads every object once, and those with a deferred key a second time after all of these have been loaded together.
/// Calls `take(object, relation, reading)`.
template <class Key, class Allocator, class Objects, class Take>
[[gnu::always_inline]] inline void read_keys(Objects& objects, std::size_t width, Take&& take) {
    using reading = key_reading<Key>;
    std::array<reading, 8> few_readings; // the usual widths, without an allocation
    std::vector<reading, typename std::allocator_traits<Allocator>::template rebind_alloc<reading>> many_readings(
        width <= few_readings.size() ? 0 : width);
    const std::span<reading> readings =
        width <= few_readings.size() ? std::span(few_readings).first(width) : std::span(many_readings);
    std::vector<std::size_t, typename std::allocator_traits<Allocator>::template rebind_alloc<std::size_t>> deferred;
    const auto read = [&](std::size_t object, bool again) {
        objects.read(object, readings);
        bool all_there = true;
        for (const reading& one : readings) {
            all_there = all_there && one.state != key_state::deferred;
        }
        if (!all_there) {
            if (again) {
                misuse("memoized_prefetch: a deferred key was not loaded");
            }
            deferred.push_back(object);
            return;
        }
        for (std::size_t relation = 0; relation < width; ++relation) {
            take(object, relation, readings[relation]);
        }
    };
    if (width == 1) { // the same without the loops over relations: 27 instead of 66 instructions
        for (std::size_t object = 0; object < objects.size(); ++object) {
            objects.read(object, std::span(few_readings).first(1));
            if (few_readings[0].state == key_state::deferred) [[unlikely]] {
                deferred.push_back(object);
            } else {
                take(object, 0, few_readings[0]);
            }
        }
    } else {
        for (std::size_t object = 0; object < objects.size(); ++object) {
            read(object, false);
        }
    }
    if (!deferred.empty()) {
        if constexpr (requires { objects.load_deferred(std::span<const std::size_t>(deferred)); }) {
            objects.load_deferred(std::span<const std::size_t>(deferred));
        }
        for (const std::size_t object : deferred) {
            read(object, true);
        }
    }
}

} // namespace detail

/// What resolves the keys of a chunk in a table; another kind of table has another one.
template <class Memo>
struct resolution_of {
    using type = key_resolution<Memo>;
};
template <class Memo>
using resolution_of_t = typename resolution_of<Memo>::type;

/// Attaches the row that an object's own key names. Several object models, with several relations each, may share a pass:
/// they then share the fetch.
///
/// `attach(i, std::span<const Handle* const> rows)`: one pointer per relation; nullptr: leave it alone; a null handle:
/// there is no row.
template <class Memo>
class to_one_pass {
public:
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;
    using allocator_type = typename Memo::allocator_type;
    template <class T>
    using vector_of = typename resolution_of_t<Memo>::template vector_of<T>;

    explicit to_one_pass(Memo& memo) : m_rows(memo) {}

    /// Collects the keys of all objects. Returns the pass's number for these objects; their relations are numbered on from
    /// those collected before.
    template <class Objects>
    std::size_t collect(Objects& objects) {
        auto& at = m_rows.buffers();
        const std::size_t width = objects.width();
        const std::size_t begin = at.positions.size();
        const auto relation = static_cast<std::uint32_t>(at.requests.size());
        at.groups.push_back({begin, relation});
        at.positions.resize(begin + objects.size() * width, no_slot);
        at.requests.resize(at.requests.size() + width);
        m_rows.reserve(at.positions.size());
        slot_id* const first = at.positions.data() + begin;
        std::uint64_t* const requests = at.requests.data() + relation;
        constexpr std::size_t most = resolution_of_t<Memo>::most_asked;
        std::array<key_type, most> keys{};
        std::array<std::uint32_t, most> relations; // NOLINT(*-member-init): written before read, as the next
        std::array<slot_id*, most> positions;      // NOLINT(*-member-init)
        relations[0] = relation;
        std::size_t waiting = 0;
        const auto ask = [&](std::size_t count) {
            m_rows.ask({keys.data(), count}, {relations.data(), width == 1 ? 1 : count}, {positions.data(), count});
            requests[0] += width == 1 ? count : 0;
        };
        detail::read_keys<key_type, allocator_type>(
            objects, width, [&](std::size_t object, std::size_t which, key_reading<key_type>& reading) {
                slot_id& position = first[object * width + which];
                if (reading.state == key_state::present) {
                    keys[waiting] = std::move(reading.key);
                    if (width != 1) {
                        relations[waiting] = relation + static_cast<std::uint32_t>(which);
                        ++requests[which];
                    }
                    positions[waiting++] = &position;
                    if (waiting == most) {
                        ask(std::exchange(waiting, 0));
                    }
                } else if (reading.state == key_state::null) {
                    position = detail::null_slot;
                }
            });
        ask(waiting);
        return at.groups.size() - 1;
    }

    template <class RowSource>
    void resolve(RowSource& source) {
        m_rows.resolve(source);
        m_rows.order({m_rows.buffers().positions.data(), m_rows.buffers().positions.size()});
    }

    /// A pointer per object and relation, in the order of `collect`; nullptr: left alone; a null handle: there is no row.
    /// They are good while this lives.
    [[nodiscard]] std::span<const handle_type* const> rows() {
        static const handle_type none{};
        auto& at = m_rows.buffers();
        if (at.rows.size() != at.positions.size()) {
            at.rows.reserve(at.positions.size());
            for (const slot_id position : at.positions) {
                at.rows.append(position < detail::null_slot ? &m_rows.handle(position)
                               : position == no_slot        ? nullptr
                                                            : &none);
            }
        }
        return {at.rows.data(), at.rows.size()};
    }

    /// Attaches to the objects that `collect` gave this number to.
    template <class Objects>
    void attach(std::size_t number, Objects& objects) {
        const std::size_t width = objects.width();
        const auto of_these = rows().subspan(m_rows.buffers().groups[number].begin, objects.size() * width);
        for (std::size_t object = 0; object < objects.size(); ++object) {
            objects.attach(object, of_these.subspan(object * width, width));
        }
    }

    /// `count`: one per relation, in the order of `collect`.
    void commit(std::span<counters> count) noexcept {
        const auto& requests = m_rows.buffers().requests;
        for (std::size_t relation = 0; relation < requests.size(); ++relation) {
            count[relation].requests += requests[relation];
        }
        m_rows.commit(count);
    }

    [[nodiscard]] std::size_t relations() noexcept { return m_rows.buffers().requests.size(); }
    void roll_back() noexcept { m_rows.roll_back(); }
    void unpin() noexcept { m_rows.unpin(); }
    std::size_t release() noexcept { return m_rows.release(); }

private:
    resolution_of_t<Memo> m_rows;
};

/// Attaches the rows that links lead to, in the order and with the duplicates of the links.
///
/// A *link source* gives `fetch(const std::vector<SourceKey>& asked, take)`: calls take(SourceKey, TargetKey) per link, in
/// order within a source. `attach(i, target_rows)`: a range of non-null handles; targets without a row are left out.
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

    /// As of key_resolution, for the links and the rows.
    void roll_back() noexcept {
        m_rows.roll_back();
        for (const slot_id slot : m_added) {
            if (links().living(slot) && links().pins(slot) == 1) {
                links().erase(slot);
            }
        }
        m_added.clear();
        m_pinned.unpin();
    }

    template <class Objects>
    void collect(Objects& objects) {
        m_positions.resize(objects.size(), no_slot);
        m_sources.reserve(objects.size());
        detail::read_keys<source_type, allocator_type>(
            objects, 1, [&](std::size_t object, std::size_t, key_reading<source_type>& reading) {
                if (reading.state == key_state::present) {
                    m_positions[object] = m_sources.add(std::move(reading.key));
                    ++m_requests;
                } else if (reading.state == key_state::null) {
                    m_positions[object] = detail::null_slot;
                }
            });
    }

    template <class LinkSource, class RowSource>
    void resolve(LinkSource& link_source, RowSource& row_source) {
        look_up();
        if (!m_missed.empty()) {
            fetch(link_source);
        }
        ask();
        m_rows.resolve(row_source);
        if (!m_missed.empty()) {
            admit();
        }
        order();
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
        links().use_all(m_order);
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
            // By index, anew each time: `add` may compare keys by foreign code, which may move the targets.
            for (std::size_t at = 0; at < links().targets(slot).size(); ++at) {
                m_targets.push_back(m_keys.add(target_type(links().targets(slot)[at])));
            }
            m_ranges[position].count = m_targets.size() - m_ranges[position].begin;
        }
    }

    template <class LinkSource>
    void fetch(LinkSource& source) {
        vector_of<source_type> asked;
        asked.reserve(m_missed.size());
        for (const slot_id position : m_missed) {
            asked.push_back(m_sources[position]);
        }
        source.fetch(asked, [&](source_type from, target_type to) {
            const slot_id position = m_sources.find(from);
            if (position != no_slot && m_slots[position] == no_slot) { // else not asked for
                m_fetched.push_back({position, m_keys.add(std::move(to))});
                ++m_ranges[position].count;
            }
        });
        // A stable counting sort by source: rows of one source may be interleaved with those of others.
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

    /// Asks for the rows, after the query for links: what that runs may change the memo.
    void ask() {
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

    void admit() {
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
            return; // declared out of date since they were asked for: good for this chunk only
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
