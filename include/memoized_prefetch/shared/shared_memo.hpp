/// \file
/// shared_memo: a memo that several threads may use at once.
///
///     key -> shard [ mutex | memo_table | keys that are being fetched -> flight ]
///
/// A *flight* is one running call of the fetch callback. A thread that misses a key in flight waits for that flight and
/// takes its row, so a key is fetched once. If the flight fails, the thread fetches the key itself. No lock is held
/// during a callback, a row's destructor or a wait. A thread waits only after its own flight has landed, so no two
/// threads wait for each other.
///
/// The interface is that of `memo`, with these differences:
///  - Each thread has its own prefetchers. Threads may share a prefetcher that leads to shared memos only.
///  - A user's pins hold shared handles and keep no entries in the memo. Only entries that a running chunk added stay
///      until it ends.
///  - The bound is divided evenly among 1, 2, 4, 8 or 16 shards, as many as leave each at least 1,024 entries, and
///      1 MiB if the bound is in bytes: a memo of fewer than 2,048 entries or 2 MiB has one shard. A row that takes more
///      than its shard's share is not kept after a chunk.
#pragma once

#include <memoized_prefetch/prefetcher.hpp>
#include <memoized_prefetch/shared/shared_resolution.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// A memo for several threads. They may call any functions at once, and callbacks may run in several threads at once.
/// Hashing and comparing keys must not throw.
template <class Row, class Key, class Traits = key_traits<Key>>
class shared_memo {
    static_assert(!std::same_as<Row, detail::undeduced>,
                  "memoized_prefetch: cannot deduce row and key from this callable: write shared_memo<Row, Key>{...}");
    static_assert(
        std::same_as<Key, detail::undeduced> || memo_key<Key, Traits>,
        "memoized_prefetch: a key must be default-constructible and copyable, with key_traits (std::hash and ==)");

public:
    using row_type = Row;
    using key_type = Key;
    using handle_type = std::shared_ptr<const Row>;
    using table_type = detail::shared_table<Key, handle_type, Traits>;
    static constexpr bool thread_safe = true;

    /// Parameters as for `memo`. The callbacks may run in several threads at once.
    template <class KeyOf, class Fetch>
    shared_memo(KeyOf key_of, Fetch fetch, memo_size<Row> size = {})
        : shared_memo(rows_type(std::move(key_of), std::move(fetch), std::move(size))) {}
    /// `nested` must lead to shared memos only; otherwise throws std::logic_error.
    template <class KeyOf, class Fetch, class Handles>
    shared_memo(KeyOf key_of, Fetch fetch, memo_size<Row> size, prefetcher<Row, Handles>& nested)
        : shared_memo(rows_type(std::move(key_of), std::move(fetch), std::move(size), nested)) {
        if (!nested.thread_safe()) {
            detail::logic_violation(
                "memoized_prefetch: the prefetcher of a shared_memo's rows must lead to shared memos only");
        }
    }
    template <class KeyOf, class Fetch, class Handles>
    shared_memo(KeyOf, Fetch, memo_size<Row>,
                prefetcher<Row, Handles>&&) = delete; // a temporary would be destroyed at once

    shared_memo(const shared_memo&) = delete;
    shared_memo& operator=(const shared_memo&) = delete;
    ~shared_memo() = default;

    /// Like `memo::resolve`.
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

    /// Like `memo::put_all`. Also returns false if the rows of one shard do not fit it, even if all would fit the memo.
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
            locks.emplace_back(m_table[at].mutex); // every thread locks in this order
        }
        std::vector<bool> fits; // true for the first rows of each shard; after one that does not fit, none does
        fits.reserve(all.size());
        for (const auto& one : all) {
            const std::size_t at = m_table.shard_of(one.tag);
            const auto& table = m_table[at].table;
            weight[at] += one.weight;
            fits.push_back(++count[at] <= table.bound() && weight[at] <= table.weight_bound());
        }
        const bool whole = std::find(fits.begin(), fits.end(), false) == fits.end();
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            m_table[at].table.reserve_more(std::min(count[at], m_table[at].table.bound()));
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
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            m_table[at].table.trim();
        }
        locks.clear();
        // A row's destructor may use this memo, or wait for a thread that does: no shard is locked while it runs.
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            std::unique_lock lock(m_table[at].mutex);
            table_type::release(m_table[at], lock);
        }
        return whole;
    }

    /// Like `memo::invalidate`.
    void invalidate(const Key& key) {
        check_not_in_callback();
        auto& part = m_table[m_table.shard_of(table_type::tag_of(key))];
        std::unique_lock lock(part.mutex);
        m_knows_all = false;
        part.table.forget_key(key);
        part.table.next_generation();
        table_type::release(part, lock);
    }
    /// Like `memo::clear`.
    void clear() {
        check_not_in_callback();
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            std::unique_lock lock(m_table[at].mutex);
            m_knows_all = false;
            m_table[at].table.forget_all();
            table_type::release(m_table[at], lock);
        }
    }

    /// What the memo did so far. O(shards).
    [[nodiscard]] memo_stats stats() const {
        memo_stats result;
        {
            const std::scoped_lock lock(m_counting);
            static_cast<counters&>(result) = m_count;
        }
        for (std::size_t at = 0; at < m_table.shards(); ++at) {
            const std::scoped_lock lock(m_table[at].mutex);
            detail::add_table(result, m_table[at].table);
        }
        return result;
    }

private:
    friend detail::memo_access;
    using rows_type = detail::memo_rows<Row, Key>;

    explicit shared_memo(rows_type rows) : m_rows(std::move(rows)), m_table(m_rows.entries(), m_rows.bytes()) {}

    void check_not_in_callback() const {
        if (detail::callback_frame::within(&m_table)) {
            detail::logic_violation("memoized_prefetch: a fetch callback used the memo that called it");
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
