/// shared_memo: a memo that several threads use at once.
///
///   key -> shard [ mutex | memo_table | keys that are being fetched -> flight ]
///
/// A *flight* is one running call of the fetch callback. Threads that miss a key which is in flight wait for that flight and
/// take its row, so a key is fetched once; when it fails, they fetch for themselves. No lock is held while a callback, a row's
/// destructor or a wait runs. A thread waits only after its own flight has landed, so that no two wait for each other.
///
/// The interface is that of `memo`. What differs: each thread has prefetchers of its own, or shares those that lead to shared
/// memos only; rows are handed out as shared handles, so pins of the user's keep nothing in the memo: only what a running chunk
/// added stays until it ends; the bound is divided among the shards, and a memo of fewer than 1,024 entries has one.
#pragma once

#include <memoized_prefetch/prefetcher.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>

namespace memoized_prefetch {

namespace detail {

/// What one call of a fetch callback was asked for, and what came of it.
template <class Key, class Handle>
class flight {
public:
    explicit flight(std::size_t size) : m_rows(size) {}

    /// By the owner, once; `ok`: `rows` holds what was found.
    void land(bool ok) noexcept {
        {
            const std::scoped_lock lock(m_mutex);
            m_state = ok ? state::landed : state::failed;
        }
        m_changed.notify_all();
    }
    /// Whether it came to something.
    [[nodiscard]] bool wait() {
        std::unique_lock lock(m_mutex);
        m_changed.wait(lock, [&] { return m_state != state::flying; });
        return m_state == state::landed;
    }
    /// Until it has landed only its owner's.
    [[nodiscard]] std::vector<Handle>& rows() noexcept { return m_rows; }

private:
    enum class state : std::uint8_t { flying, landed, failed };
    std::vector<Handle> m_rows;
    std::mutex m_mutex;
    std::condition_variable m_changed;
    state m_state = state::flying;
};

/// The callbacks that this thread is in.
class callback_frame {
public:
    explicit callback_frame(const void* table) noexcept : m_table(table), m_outer(innermost()) { innermost() = this; }
    callback_frame(const callback_frame&) = delete;
    callback_frame& operator=(const callback_frame&) = delete;
    ~callback_frame() { innermost() = m_outer; }

    [[nodiscard]] static bool within(const void* table) noexcept {
        const callback_frame* frame = innermost();
        while (frame != nullptr && frame->m_table != table) {
            frame = frame->m_outer;
        }
        return frame != nullptr;
    }

private:
    static const callback_frame*& innermost() noexcept {
        static thread_local const callback_frame* frame = nullptr;
        return frame;
    }
    const void* m_table;
    const callback_frame* m_outer;
};

/// The shards of a shared memo.
template <class Key, class Handle, class Traits>
class shared_table {
public:
    using key_type = Key;
    using handle_type = Handle;
    using traits_type = Traits;
    using allocator_type = std::allocator<std::byte>;
    using flight_type = flight<Key, Handle>;

    struct place_in_flight {
        std::shared_ptr<flight_type> flight;
        slot_id at;
    };
    struct hash_key {
        std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(Traits::hash(key)); }
    };
    struct equal_keys {
        bool operator()(const Key& left, const Key& right) const { return Traits::equal(left, right); }
    };
    struct alignas(64) shard { // each on cache lines of its own
        std::mutex mutex;
        memo_table<Key, Handle, Traits> table;
        std::unordered_map<Key, place_in_flight, hash_key, equal_keys> flying;
    };

    shared_table(std::size_t entries, std::size_t bytes) {
        constexpr std::size_t fewest_entries = 1'024;
        while (m_count < most_shards && entries / (2 * m_count) >= fewest_entries) {
            m_count *= 2;
        }
        m_shards = std::make_unique<shard[]>(m_count);
        for (std::size_t at = 0; at < m_count; ++at) {
            m_shards[at].table.set_bound(entries == unbounded ? unbounded : part(entries, at));
            m_shards[at].table.set_weight_bound(bytes == unbounded ? unbounded : part(bytes, at));
        }
    }

    [[nodiscard]] static std::uint32_t tag_of(const Key& key) { return memo_table<Key, Handle, Traits>::tag_of(key); }
    [[nodiscard]] std::size_t shards() const noexcept { return m_count; }
    [[nodiscard]] shard& operator[](std::size_t at) const noexcept { return m_shards[at]; }
    /// By bits of the tag that a table's index takes last: it takes the upper ones and the lowest three.
    [[nodiscard]] std::size_t shard_of(std::uint32_t tag) const noexcept { return tag >> 3U & (m_count - 1); }

    /// Ends a change of a shard, whose lock is held: re-establishes the bound, and drops what left it without the lock.
    static std::size_t trim(shard& part, std::unique_lock<std::mutex>& lock) noexcept {
        const std::size_t evicted = part.table.trim();
        release(part, lock);
        return evicted;
    }
    /// Drops what left a shard, whose lock is held, without the lock.
    static void release(shard& part, std::unique_lock<std::mutex>& lock) noexcept {
        std::array<Handle, 32> gone;
        for (;;) {
            std::size_t count = 0;
            while (count < gone.size() && part.table.take_buried(gone[count])) {
                ++count;
            }
            if (count == 0) {
                return;
            }
            lock.unlock();
            for (std::size_t at = 0; at < count; ++at) {
                gone[at] = Handle{};
            }
            lock.lock();
        }
    }

private:
    static constexpr std::size_t most_shards = 16;
    [[nodiscard]] std::size_t part(std::size_t whole, std::size_t at) const noexcept {
        return whole / m_count + (at < whole % m_count ? 1 : 0);
    }
    std::size_t m_count = 1;
    std::unique_ptr<shard[]> m_shards;
};

/// As key_resolution, in a table that others change at the same time. Takes handles instead of pins, but for what it adds:
/// that is pinned until it is committed, so that its slot is no other entry's if it has to be taken out again. By its value an
/// entry cannot be told: all absences are alike, and callbacks may give one handle twice.
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

    slot_id ask(key_type key, std::uint32_t relation) {
        const slot_id position = m_keys.add(std::move(key));
        if (position == m_relations.size()) {
            m_relations.push_back(relation);
        }
        return position;
    }
    void ask(std::span<key_type> keys, std::span<const std::uint32_t> relations, std::span<slot_id* const> positions) {
        for (std::size_t at = 0; at < keys.size(); ++at) {
            *positions[at] = ask(std::move(keys[at]), relations[relations.size() == 1 ? 0 : at]);
        }
    }
    static constexpr std::size_t most_asked = 16; ///< keys at once
    void reserve(std::size_t count) {
        m_keys.reserve(count);
        m_relations.reserve(count);
    }
    /// Room for those who use this.
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
        while (!unknown.empty()) {
            unknown = attempt(source, std::move(unknown));
        }
    }

    void order(std::span<const slot_id> uses) {
        vector_of<bool> seen(m_keys.size());
        for (std::size_t at = uses.size(); at-- > 0;) {
            const slot_id position = uses[at];
            if (position < m_keys.size() && !seen[position]) {
                seen[position] = true;
                m_order.push_back(position);
            }
        }
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
        for (slot_id position = 0; position < m_keys.size(); ++position) {
            counters& relation = count[m_relations[position]];
            if (!m_missed[position]) {
                ++relation.hits;
            } else {
                ++relation.misses;
                ++(m_handles[position] ? relation.fetched : relation.missing);
            }
        }
        m_committed = true;
    }
    /// Takes out again what `resolve` added. Other threads that used it meanwhile have handles of their own.
    void roll_back() noexcept {
        each_shard(m_added, [&](auto& part, std::unique_lock<std::mutex>& lock, std::span<const slot_id> positions) {
            for (const slot_id position : positions) {
                const slot_id slot = m_slots[position];
                if (part.table.living(slot)) {
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

    /// Sorts positions by shard; those of one stay in order.
    void by_shard(vector_of<slot_id>& positions) const {
        std::stable_sort(positions.begin(), positions.end(), [&](slot_id left, slot_id right) {
            return m_table.shard_of(m_tags[left]) < m_table.shard_of(m_tags[right]);
        });
    }
    /// Calls `visit` for the positions of each shard, which is locked.
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

    /// Keys that this chunk fetches: no longer in flight when it lands, however the fetch ends.
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

    /// Looks keys up, fetches those that nobody knows or fetches, and waits for the rest. Returns those of failed flights.
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
                } else if (!source.knows_all()) { // asked under the lock, under which `invalidate` takes that back
                    part.flying.emplace(m_keys[position], typename Table::place_in_flight{
                                                              flying.get(), static_cast<slot_id>(mine.size())});
                    mine.push_back(position); // within the capacity
                    m_missed[position] = true;
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
                return; // declared out of date since it was asked for: good for this chunk only
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
    vector_of<std::uint32_t> m_relations; // by position: who asked first
    vector_of<handle_type> m_handles;     // by position
    vector_of<std::uint32_t> m_tags;      // by position
    vector_of<bool> m_missed;             // by position: fetched by this chunk
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

/// Every function may be called by several threads at once; so are the callbacks. Hashing and comparing keys may not throw.
template <class Row, class Key, class Traits = key_traits<Key>>
class shared_memo {
    static_assert(!std::same_as<Row, detail::not_told>,
                  "memoized_prefetch: row and key cannot be told from this callable: write shared_memo<Row, Key>{...}");
    static_assert(std::same_as<Key, detail::not_told> || memo_key<Key, Traits>,
                  "memoized_prefetch: a key is default-constructible, copyable, and has key_traits (std::hash and ==)");

public:
    using row_type = Row;
    using key_type = Key;
    using handle_type = std::shared_ptr<const Row>;
    using table_type = detail::shared_table<Key, handle_type, Traits>;
    static constexpr bool thread_safe = true;

    /// As of `memo`. The callbacks may run in several threads at once.
    template <class KeyOf, class Fetch>
    shared_memo(KeyOf key_of, Fetch fetch, memo_size<Row> size = {})
        : shared_memo(rows_type(std::move(key_of), std::move(fetch), std::move(size))) {}
    /// `nested` leads to shared memos only.
    template <class KeyOf, class Fetch, class Handles>
    shared_memo(KeyOf key_of, Fetch fetch, memo_size<Row> size, prefetcher<Row, Handles>& nested)
        : shared_memo(rows_type(std::move(key_of), std::move(fetch), std::move(size), nested)) {
        if (!nested.thread_safe()) {
            detail::misuse(
                "memoized_prefetch: rows of a shared_memo pass through a prefetcher to a memo that is not shared");
        }
    }
    template <class KeyOf, class Fetch, class Handles>
    shared_memo(KeyOf, Fetch, memo_size<Row>, prefetcher<Row, Handles>&&) = delete; // it would be gone at once

    shared_memo(const shared_memo&) = delete;
    shared_memo& operator=(const shared_memo&) = delete;
    ~shared_memo() = default;

    template <class Keys>
    pinned_rows<shared_memo> resolve(Keys&& keys) {
        constexpr bool keys_of_memo = detail::range_of_keys<Keys, Key>;
        static_assert(
            keys_of_memo,
            "memoized_prefetch: resolve takes a forward range of this memo's keys, or of std::optional of them");
        if constexpr (keys_of_memo) {
            check_not_in_callback();
            return pinned_rows<shared_memo>(*this, keys);
        } else {
            std::abort();
        }
    }

    /// As of `memo`. False also when all rows would fit, but not those of one shard.
    template <class Rows>
    bool put_all(Rows&& rows) {
        static_assert(range_of_rows<Rows, Row>, "memoized_prefetch: put_all takes a range of this memo's rows");
        check_not_in_callback();
        const detail::callback_frame frame(&m_table);
        auto all = m_rows.template read_all<Traits>(std::forward<Rows>(rows));
        std::vector<std::size_t> count(m_table.shards());
        std::vector<std::size_t> weight(m_table.shards());
        std::vector<std::unique_lock<std::mutex>> locks;
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            locks.emplace_back(m_table[at].mutex); // in this order by every thread
        }
        std::vector<bool> fits; // of each shard the first rows: no later one takes the place of one that does not fit
        fits.reserve(all.size());
        for (const auto& one : all) {
            const std::size_t at = m_table.shard_of(one.tag);
            const auto& table = m_table[at].table;
            weight[at] += one.weight;
            fits.push_back(++count[at] <= table.bound() && weight[at] <= table.weight_bound());
        }
        const bool whole = std::find(fits.begin(), fits.end(), false) == fits.end();
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            m_table[at].table.reserve_more(std::min(all.size(), m_table[at].table.bound()));
        }
        // From here on nothing throws.
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            m_table[at].table.forget_all();
        }
        for (std::size_t at = 0; at < all.size(); ++at) {
            if (fits[at]) {
                auto& one = all[at];
                auto& table = m_table[m_table.shard_of(one.tag)].table;
                const slot_id slot = table.add_row(std::move(one.key), one.tag, std::move(one.row));
                table.weigh(slot, one.weight);
                table.loaded(slot);
            }
        }
        m_knows_all = whole;
        for (std::size_t at = m_table.shards(); at-- > 0;) {
            table_type::trim(m_table[at], locks[at]);
            locks[at].unlock();
        }
        return whole;
    }

    void invalidate(const Key& key) {
        check_not_in_callback();
        auto& part = m_table[m_table.shard_of(table_type::tag_of(key))];
        std::unique_lock lock(part.mutex);
        m_knows_all = false;
        part.table.forget_key(key);
        part.table.next_generation();
        table_type::release(part, lock);
    }
    void clear() {
        check_not_in_callback();
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            std::unique_lock lock(m_table[at].mutex);
            m_knows_all = false;
            m_table[at].table.forget_all();
            table_type::release(m_table[at], lock);
        }
    }

    [[nodiscard]] memo_stats stats() const {
        memo_stats result;
        {
            const std::scoped_lock lock(m_counting);
            static_cast<counters&>(result) = m_count;
        }
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            const std::scoped_lock lock(m_table[at].mutex);
            const auto& table = m_table[at].table;
            result.size += table.size();
            result.largest += table.largest();
            result.bytes += table.bytes();
            result.fetched_again += table.distances().fetched_again();
        }
        return result;
    }

private:
    friend detail::memo_access;
    using rows_type = detail::memo_rows<Row, Key>;

    explicit shared_memo(rows_type rows) : m_rows(std::move(rows)), m_table(m_rows.entries(), m_rows.bytes()) {}

    void check_not_in_callback() const {
        if (detail::callback_frame::within(&m_table)) {
            detail::misuse("memoized_prefetch: a fetch callback used the memo that had called it");
        }
    }
    void count(const counters& more) noexcept {
        const std::scoped_lock lock(m_counting);
        m_count += more;
    }

    struct row_source {
        shared_memo* self;
        template <class Take>
        void fetch(const std::vector<Key>& asked, Take&& take) {
            const detail::callback_frame frame(&self->m_table);
            counters one;
            one.queries = 1;
            self->count(one);
            self->m_rows.fetch(asked, take);
        }
        [[nodiscard]] Key key_of(const handle_type& row) const { return self->m_rows.key_of(row); }
        [[nodiscard]] std::size_t weight(const handle_type& row) const { return self->m_rows.weight(row); }
        [[nodiscard]] bool knows_all() const noexcept { return self->m_knows_all; }
    };
    [[nodiscard]] row_source source() noexcept { return {this}; }

    rows_type m_rows;
    table_type m_table;
    counters m_count;
    mutable std::mutex m_counting;
    std::atomic<bool> m_knows_all = false;
};

template <class KeyOf, class Fetch>
shared_memo(KeyOf, Fetch)
    -> shared_memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;
template <class KeyOf, class Fetch>
shared_memo(KeyOf, Fetch, memo_size<typename detail::signature<KeyOf>::argument>)
    -> shared_memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;
template <class KeyOf, class Fetch, class Row, class Handles>
shared_memo(KeyOf, Fetch, memo_size<typename detail::signature<KeyOf>::argument>, prefetcher<Row, Handles>&)
    -> shared_memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;

} // namespace memoized_prefetch
