/// \file
/// memo: remembers rows of one table by key, up to a bound. Your callback fetches the others.
///
///     keys -> [ memory | one call of the fetch callback ] -> std::shared_ptr<const Row> per key, null: no such row
///
/// Rows are const and shared. A handle keeps its row alive, even after eviction. Keys without a row are remembered too.
/// A memo cannot be copied or moved. It must outlive the links and prefetchers that refer to it, and the results of
/// `resolve` and `pin_chunk`. Use it from one thread at a time; for several threads see shared_memo.hpp.
#pragma once

#include <memoized_prefetch/detail/logic_violation.hpp>
#include <memoized_prefetch/detail/signature.hpp>
#include <memoized_prefetch/pinned_rows.hpp>
#include <memoized_prefetch/row_source.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// What a memo has done, and what it holds.
struct memo_stats : counters {
    std::size_t size = 0;            ///< rows and absences held now
    std::size_t largest = 0;         ///< the most rows and absences held between chunks
    std::size_t bytes = 0;           ///< allocated for the table, without the memory that keys and rows own
    std::uint64_t fetched_again = 0; ///< fetches of keys that had been evicted; with over a thousand keys, an estimate
};

namespace detail {
template <class Table>
void add_table(memo_stats& stats, const Table& table) noexcept {
    stats.size += table.size();
    stats.largest += table.largest();
    stats.bytes += table.bytes();
    stats.fetched_again += table.distances().fetched_again();
}
} // namespace detail

/// Rows of one table by key. `Row` and `Key` are deduced if the first argument is a member pointer or a callable that
/// is not generic.
template <class Row, class Key, class Traits = key_traits<Key>>
class memo {
    static_assert(!std::same_as<Row, detail::undeduced>,
                  "memoized_prefetch: cannot deduce row and key from this callable: write memo<Row, Key>{...}");
    static_assert(
        std::same_as<Key, detail::undeduced> || memo_key<Key, Traits>,
        "memoized_prefetch: a key must be default-constructible and copyable, with key_traits (std::hash and ==)");

public:
    using row_type = Row;
    using key_type = Key;
    using handle_type = std::shared_ptr<const Row>;
    using table_type = memo_table<Key, handle_type, Traits>;
    static constexpr bool thread_safe = false;

    /// `key_of` returns a row's key. `fetch` takes a `std::span<const Key>` and returns a range of rows, in any order.
    /// Rows that were not asked for are dropped; of several rows with one key, the first is kept. Keys without a row
    /// are remembered as missing. If `fetch` throws, the exception reaches the caller and the memo is unchanged.
    template <class KeyOf, class Fetch>
    memo(KeyOf key_of, Fetch fetch, memo_size<Row> size = {})
        : memo(rows_type(std::move(key_of), std::move(fetch), std::move(size))) {}

    /// Each fetched row passes through `nested` once, before it becomes const and shared.
    template <class KeyOf, class Fetch, class Handles>
    memo(KeyOf key_of, Fetch fetch, memo_size<Row> size, prefetcher<Row, Handles>& nested)
        : memo(rows_type(std::move(key_of), std::move(fetch), std::move(size), nested)) {}
    template <class KeyOf, class Fetch, class Handles>
    memo(KeyOf, Fetch, memo_size<Row>, prefetcher<Row, Handles>&&) = delete; // a temporary would be destroyed at once

    memo(const memo&) = delete;
    memo& operator=(const memo&) = delete;
    ~memo() {
        if (m_table.passes() != 0) {
            detail::fatal("memoized_prefetch: a memo was destroyed while rows of it were pinned");
        }
    }

    /// The rows for a forward range of keys or of `std::optional` keys, pinned while the result lives.
    template <class Keys>
    pinned_rows<memo> resolve(Keys&& keys) {
        constexpr bool keys_of_memo = detail::range_of_keys<Keys, Key>;
        static_assert(
            keys_of_memo,
            "memoized_prefetch: resolve takes a forward range of this memo's keys, or of std::optional of them");
        if constexpr (keys_of_memo) {
            check_not_in_callback();
            return pinned_rows<memo>(*this, keys);
        } else {
            std::abort();
        }
    }

    /// Replaces the contents by all rows of the table. Until `clear` or `invalidate`, any other key has no row and is
    /// not fetched. Returns false if the memo cannot hold all rows: it then remembers the first ones and fetches other
    /// keys as usual. O(rows). If it throws, nothing has changed.
    template <class Rows>
    bool put_all(Rows&& rows) {
        constexpr bool rows_of_memo = range_of_rows<Rows, Row>;
        static_assert(rows_of_memo, "memoized_prefetch: put_all takes a range of this memo's rows");
        if constexpr (rows_of_memo) {
            check_not_in_callback();
            return put_rows(std::forward<Rows>(rows));
        } else {
            return false;
        }
    }

    /// Forgets the key's row, or its absence. Handles that were given out keep their row. O(1).
    void invalidate(const Key& key) {
        check_not_in_callback();
        m_table.forget_key(key); // first, as it may throw
        m_table.next_generation();
        m_knows_all = false;
        m_table.reclaim();
    }
    /// Forgets everything. O(size).
    void clear() {
        check_not_in_callback();
        m_knows_all = false;
        m_table.clear();
    }

    /// What the memo did so far. O(1).
    [[nodiscard]] memo_stats stats() const noexcept {
        memo_stats result{m_count};
        detail::add_table(result, m_table);
        return result;
    }

private:
    friend detail::memo_access;
    using rows_type = detail::memo_rows<Row, Key>;

    explicit memo(rows_type rows) : m_rows(std::move(rows)), m_table(m_rows.entries()) {
        m_table.set_weight_bound(m_rows.bytes());
    }

    template <class Rows>
    bool put_rows(Rows&& rows);

    void check_not_in_callback() const {
        if (m_in_callback) {
            detail::logic_violation("memoized_prefetch: a fetch callback used the memo that called it");
        }
    }
    void count(const counters& more) noexcept { m_count += more; }

    struct row_source {
        memo* self;
        template <class Take>
        void fetch(const std::vector<Key>& asked, Take&& take) {
            const detail::callback_guard guard(self->m_in_callback);
            ++self->m_count.queries;
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
    bool m_in_callback = false;
    bool m_knows_all = false;
};

template <class KeyOf, class Fetch>
memo(KeyOf, Fetch) -> memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;
template <class KeyOf, class Fetch>
memo(KeyOf, Fetch, memo_size<typename detail::signature<KeyOf>::argument>)
    -> memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;
template <class KeyOf, class Fetch, class Row, class Handles>
memo(KeyOf, Fetch, memo_size<typename detail::signature<KeyOf>::argument>, prefetcher<Row, Handles>&)
    -> memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;
template <class KeyOf, class Fetch, class Row, class Handles>
memo(KeyOf, Fetch, memo_size<typename detail::signature<KeyOf>::argument>, prefetcher<Row, Handles>&&)
    -> memo<typename detail::signature<KeyOf>::argument, typename detail::signature<KeyOf>::result>;

template <class Row, class Key, class Traits>
template <class Rows>
bool memo<Row, Key, Traits>::put_rows(Rows&& rows) {
    const detail::callback_guard guard(m_in_callback);
    auto all = m_rows.template read_all<Traits>(std::forward<Rows>(rows));
    std::size_t weight = 0;
    std::size_t fit = 0;
    while (fit < all.size() && fit < m_table.bound() && (weight += all[fit].weight) <= m_rows.bytes()) {
        ++fit;
    }
    m_table.reserve_more(fit);
    // From here on nothing throws.
    m_table.clear();
    for (std::size_t at = 0; at < fit; ++at) {
        const slot_id slot = m_table.add_row(std::move(all[at].key), all[at].tag, std::move(all[at].row));
        m_table.weigh(slot, all[at].weight);
        m_table.loaded(slot);
    }
    m_table.trim();
    m_knows_all = fit == all.size();
    return m_knows_all;
}

} // namespace memoized_prefetch
