/// shared_resolution: resolves keys in a table that other threads change at the same time; see key_resolution.hpp.
///
/// It holds handles instead of pins. It pins only the entries that it adds, until the commit: a rollback must remove
/// exactly these, so no slot of them may be reused meanwhile. Values do not identify entries: all absences are equal,
/// and a callback may return one handle twice.
#pragma once

#include <memoized_prefetch/passes/key_resolution.hpp>
#include <memoized_prefetch/shared/shared_table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

namespace detail {

template <class Table>
class shared_resolution {
public:
    using key_type = typename Table::key_type;
    using handle_type = typename Table::handle_type;
    using allocator_type = typename Table::allocator_type;
    template <class T>
    using vector_of = std::vector<T>;

    explicit shared_resolution(Table& table) noexcept : m_table(table) {}
    shared_resolution(const shared_resolution&) = delete;
    shared_resolution& operator=(const shared_resolution&) = delete;
    ~shared_resolution() {
        if (!m_committed) {
            roll_back();
        }
    }

    void ask(std::span<key_type> keys, std::span<const std::uint32_t> relations, std::span<slot_id* const> positions) {
        const std::size_t known = size();
        for (std::size_t at = 0; at < keys.size(); ++at) {
            *positions[at] = m_keys.add(std::move(keys[at]));
        }
        note_relations(m_buffers.relations, known, size(), relations, positions);
    }
    static constexpr std::size_t most_asked = 16; ///< the most keys per call of `ask`
    void reserve(std::size_t count) { m_keys.reserve(count); }
    /// Working memory, shared with the passes.
    [[nodiscard]] auto& buffers() noexcept { return m_buffers; }
    [[nodiscard]] std::size_t size() const noexcept { return m_keys.size(); }
    [[nodiscard]] const key_type& key(slot_id position) const noexcept { return m_keys[position]; }
    [[nodiscard]] const handle_type& handle(slot_id position) const noexcept { return m_handles[position]; }

    template <class RowSource>
    void resolve(RowSource& source) {
        const auto count = static_cast<slot_id>(m_keys.size());
        m_handles.resize(count);
        m_tags.reserve(count);
        vector_of<slot_id> unknown;
        for (slot_id position = 0; position < count; ++position) {
            m_tags.push_back(Table::tag_of(m_keys[position]));
            unknown.push_back(position);
        }
        m_missed.resize(count);
        m_buffers.fetched.reserve(count);
        while (!unknown.empty()) {
            unknown = attempt(source, std::move(unknown));
        }
    }

    void order(std::span<const slot_id> uses) {
        m_buffers.order_by_last_use(size(), uses, [](std::size_t position) { return static_cast<slot_id>(position); });
        m_order.assign(m_buffers.order.begin(), m_buffers.order.end());
        std::reverse(m_order.begin(), m_order.end());
        by_shard(m_order);
    }

    void commit(std::span<counters> count) noexcept {
        each_shard(m_added, [&](auto& part, std::unique_lock<std::mutex>& lock, std::span<const slot_id> positions) {
            for (const slot_id position : positions) {
                part.table.unpin(m_slots[position]);
            }
            Table::release(part, lock);
        });
        each_shard(m_order, [&](auto& part, std::unique_lock<std::mutex>& lock, std::span<const slot_id> positions) {
            for (const slot_id position : positions) {
                if (const slot_id slot = part.table.find(m_keys[position], m_tags[position]); slot != no_slot) {
                    if (m_missed[position]) {
                        part.table.fetched(slot);
                    }
                    part.table.use(slot);
                }
            }
            m_evicted += Table::trim(part, lock);
        });
        count_keys(
            m_buffers.relations, size(), {m_buffers.fetched.data(), m_buffers.fetched.size()},
            [&](slot_id position) { return static_cast<bool>(m_handles[position]); }, count);
        m_committed = true;
    }
    /// Removes what `resolve` added. Threads that used these entries meanwhile have their own handles.
    void roll_back() noexcept {
        each_shard(m_added, [&](auto& part, std::unique_lock<std::mutex>& lock, std::span<const slot_id> positions) {
            for (const slot_id position : positions) {
                const slot_id slot = m_slots[position];
                if (part.table.is_living(slot)) {
                    part.table.erase(slot);
                }
                part.table.unpin(slot);
            }
            Table::release(part, lock);
        });
        m_added.clear();
    }
    void unpin() noexcept {}
    std::size_t release() noexcept { return std::exchange(m_evicted, 0); }

private:
    using flight_type = typename Table::flight_type;
    struct awaited {
        slot_id position;
        typename Table::place_in_flight place;
    };

    /// Sorts positions by shard; those of one shard stay in order.
    void by_shard(vector_of<slot_id>& positions) const {
        std::stable_sort(positions.begin(), positions.end(), [&](slot_id left, slot_id right) {
            return m_table.shard_of(m_tags[left]) < m_table.shard_of(m_tags[right]);
        });
    }
    /// Calls `visit` for the positions of each shard, with the shard's lock held.
    template <class Visit>
    void each_shard(std::span<const slot_id> positions, Visit&& visit) const {
        for (std::size_t from = 0, to = 0; from < positions.size(); from = to) {
            const std::size_t shard = m_table.shard_of(m_tags[positions[from]]);
            while (to < positions.size() && m_table.shard_of(m_tags[positions[to]]) == shard) {
                ++to;
            }
            std::unique_lock lock(m_table[shard].mutex);
            visit(m_table[shard], lock, positions.subspan(from, to - from));
        }
    }

    /// The flight of the keys that this chunk fetches. It always lands, even if the fetch fails, and then removes them
    /// from the keys in flight.
    class own_flight {
    public:
        own_flight(shared_resolution& rows, const vector_of<slot_id>& mine)
            : m_rows(rows), m_mine(mine), m_flight(std::make_shared<flight_type>(mine.capacity())) {}
        own_flight(const own_flight&) = delete;
        own_flight& operator=(const own_flight&) = delete;
        ~own_flight() { land(false); }

        [[nodiscard]] const std::shared_ptr<flight_type>& get() const noexcept { return m_flight; }
        void land(bool ok) noexcept {
            if (!m_flying) {
                return;
            }
            m_flying = false;
            m_rows.each_shard(m_mine, [&](auto& part, auto&, std::span<const slot_id> positions) {
                for (const slot_id position : positions) {
                    part.flying.erase(m_rows.m_keys[position]);
                }
            });
            m_flight->land(ok);
        }

    private:
        shared_resolution& m_rows;
        const vector_of<slot_id>& m_mine;
        std::shared_ptr<flight_type> m_flight;
        bool m_flying = true;
    };

    /// Looks keys up, fetches those that are neither in the table nor in flight, and waits for those in flight. Returns
    /// the keys of failed flights.
    template <class RowSource>
    vector_of<slot_id> attempt(RowSource& source, vector_of<slot_id> unknown) {
        by_shard(unknown);
        vector_of<slot_id> mine;
        vector_of<awaited> theirs;
        mine.reserve(unknown.size());
        theirs.reserve(unknown.size());
        m_generations.resize(m_table.shards());
        own_flight flying(*this, mine);
        mark(source, unknown, flying, mine, theirs);
        if (!mine.empty()) {
            fetch(source, mine);
            for (std::size_t at = 0; at < mine.size(); ++at) {
                flying.get()->rows()[at] = m_handles[mine[at]];
            }
            admit(source, mine);
        }
        flying.land(true);
        vector_of<slot_id> again;
        for (const awaited& one : theirs) {
            if (one.place.flight->wait()) {
                m_handles[one.position] = one.place.flight->rows()[one.place.at];
            } else {
                again.push_back(one.position);
            }
        }
        return again;
    }

    template <class RowSource>
    void mark(RowSource& source, std::span<const slot_id> unknown, const own_flight& flying, vector_of<slot_id>& mine,
              vector_of<awaited>& theirs) {
        each_shard(unknown, [&](auto& part, auto&, std::span<const slot_id> positions) {
            m_generations[m_table.shard_of(m_tags[positions[0]])] = part.table.generation();
            for (const slot_id position : positions) {
                const slot_id slot = part.table.find(m_keys[position], m_tags[position]);
                if (slot != no_slot) {
                    m_handles[position] = part.table.handle(slot);
                    continue;
                }
                const auto found = part.flying.find(m_keys[position]);
                if (found != part.flying.end()) {
                    theirs.push_back({position, found->second});
                } else if (!source.knows_all()) { // read under the lock under which `invalidate` resets it
                    part.flying.emplace(m_keys[position], typename Table::place_in_flight{
                                                              flying.get(), static_cast<slot_id>(mine.size())});
                    mine.push_back(position); // within the capacity
                    m_missed[position] = true;
                    m_buffers.fetched.append(position);
                }
            }
        });
    }

    template <class RowSource>
    void fetch(RowSource& source, std::span<const slot_id> mine) {
        std::vector<key_type> asked;
        asked.reserve(mine.size());
        for (const slot_id position : mine) {
            asked.push_back(m_keys[position]);
        }
        source.fetch(asked, [&](handle_type row) {
            const slot_id position = m_keys.find(source.key_of(row));
            if (position == no_slot || !m_missed[position] || m_handles[position]) {
                return false;
            }
            m_handles[position] = std::move(row);
            return true;
        });
    }

    template <class RowSource>
    void admit(RowSource& source, std::span<const slot_id> mine) {
        vector_of<std::size_t> weights;
        weights.reserve(mine.size());
        for (const slot_id position : mine) {
            weights.push_back(source.weight(m_handles[position]));
        }
        m_added.reserve(m_added.size() + mine.size());
        m_slots.resize(m_keys.size());
        std::size_t at = 0;
        each_shard(mine, [&](auto& part, auto&, std::span<const slot_id> positions) {
            const std::size_t first = at;
            at += positions.size();
            part.table.reserve_more(positions.size());
            if (part.table.generation() != m_generations[m_table.shard_of(m_tags[positions[0]])]) {
                return; // invalidated since the look-up: this chunk alone may use it
            }
            for (std::size_t one = 0; one < positions.size(); ++one) {
                const slot_id position = positions[one];
                key_type key = m_keys[position];
                const std::uint32_t tag = m_tags[position];
                const slot_id slot = m_handles[position] ? part.table.add_row(std::move(key), tag, m_handles[position])
                                                         : part.table.add_missing(std::move(key), tag);
                part.table.weigh(slot, weights[first + one]);
                part.table.pin(slot);
                m_slots[position] = slot;
                m_added.push_back(position);
            }
        });
    }

    Table& m_table;
    key_set<key_type, typename Table::traits_type> m_keys;
    vector_of<handle_type> m_handles; // by position
    vector_of<std::uint32_t> m_tags;  // by position
    vector_of<bool> m_missed;         // by position: whether this chunk fetches it
    vector_of<std::uint64_t> m_generations;
    vector_of<slot_id> m_added; // positions
    vector_of<slot_id> m_slots; // by position, of those in m_added
    vector_of<slot_id> m_order; // by shard, least recently used first
    std::size_t m_evicted = 0;
    bool m_committed = false;
    chunk_buffers<key_type, handle_type, typename Table::traits_type, allocator_type> m_buffers;
};

} // namespace detail

template <class Key, class Handle, class Traits>
struct resolution_of<detail::shared_table<Key, Handle, Traits>> {
    using type = detail::shared_resolution<detail::shared_table<Key, Handle, Traits>>;
};

} // namespace memoized_prefetch
