/// memo: one table of rows, read by key with a callback, of which it remembers as many as it may.
///
///   keys -> [ memory | one call of the fetch callback for the rest ] -> std::shared_ptr<const Row> per key, null: no such row
///
/// Rows are const and shared: who holds a handle keeps its row, evicted or not. "There is no such row" is remembered as well.
/// A memo stays where it is, and outlives the links and prefetchers that refer to it, and what `resolve` and `pin_chunk` gave.
/// One thread at a time; see shared_memo.hpp for several.
#pragma once

#include <memoized_prefetch/detail/mapped_span.hpp>
#include <memoized_prefetch/detail/misuse.hpp>
#include <memoized_prefetch/detail/signature.hpp>
#include <memoized_prefetch/passes/chunk_pass.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>

namespace memoized_prefetch {

/// Prefetchers attach shared handles unless they say otherwise; see prefetcher.hpp.
struct shared_handles;
template <class Object, class Handles = shared_handles>
class prefetcher;

/// How much a memo keeps between chunks. During a chunk it holds what that needs, also when it is more.
template <class Row>
struct memo_size {
    /// Rows and absences; `unbounded` for no limit. Not given: 10,000, or no limit where `bytes` is given.
    std::optional<std::size_t> entries = {};
    /// The sum of what rows weigh and of their places in the table. Needs `size_of`.
    std::size_t bytes = unbounded;
    /// Bytes of a row, with what hangs on it; called once, when the row is remembered.
    std::function<std::size_t(const Row&)> size_of = {};
};
inline constexpr std::size_t default_entries = 10'000;

/// What a memo did and holds.
struct memo_stats : counters {
    std::size_t size = 0;            ///< rows and absences that it holds
    std::size_t largest = 0;         ///< the most that it held between chunks
    std::size_t bytes = 0;           ///< allocated for the table; what keys and rows own is not counted
    std::uint64_t fetched_again = 0; ///< fetches of keys that had been evicted; an estimate beyond a thousand keys
};

/// A key that the library can find again: default-constructible, copyable, and known to `key_traits` or the traits given.
template <class Key, class Traits = key_traits<Key>>
concept memo_key = std::semiregular<Key> && requires(const Key& key) {
    { Traits::hash(key) } -> std::convertible_to<std::uint64_t>;
    { Traits::equal(key, key) } -> std::convertible_to<bool>;
};

/// Gives a row's key: a member pointer or any other callable.
template <class KeyOf, class Row, class Key>
concept key_of_row = requires(KeyOf& key_of, const Row& row) {
    { std::invoke(key_of, row) } -> std::convertible_to<Key>;
};

namespace detail {
/// What comes out of a range: of a container that was given away, elements that may be moved from.
template <class Range>
using element_of =
    std::conditional_t<std::is_lvalue_reference_v<Range> || std::ranges::view<std::remove_cvref_t<Range>>,
                       std::ranges::range_reference_t<Range>, std::ranges::range_rvalue_reference_t<Range>>;
} // namespace detail

/// A range of rows: values, smart pointers to them, or pointers to const ones that are shared already.
template <class Range, class Row>
concept range_of_rows = std::ranges::input_range<Range> &&
    (std::convertible_to<detail::element_of<Range>, Row> ||
     std::convertible_to<detail::element_of<Range>, std::shared_ptr<const Row>>);

/// Called with the distinct keys that memory does not know; gives a range of their rows, in any order.
template <class Fetch, class Row, class Key>
concept fetches_rows = std::invocable<Fetch&, std::span<const Key>> &&
    range_of_rows<std::invoke_result_t<Fetch&, std::span<const Key>>, Row>;

namespace detail {

/// A prefetcher as a memo sees it: something that attaches what rows need before they become const.
template <class Row>
class row_preparer {
public:
    row_preparer(const row_preparer&) = delete;
    row_preparer& operator=(const row_preparer&) = delete;
    virtual void prepare(std::span<Row* const> rows) = 0;
    /// Whether several threads may prepare rows at once.
    [[nodiscard]] virtual bool thread_safe() const noexcept = 0;

protected:
    row_preparer() = default;
    ~row_preparer() = default;
};

/// Calls `take(std::shared_ptr<const Row>, Row*)` for the rows of a range; the pointer is null for those that are const already.
template <class Row, class Range, class Take>
void share_rows(Range&& rows, Take&& take) {
    using element = element_of<Range>;
    for (auto at = std::ranges::begin(rows); at != std::ranges::end(rows); ++at) {
        const auto next = [&]() -> element {
            if constexpr (std::same_as<element, std::ranges::range_reference_t<Range>>) {
                return *at;
            } else {
                return std::ranges::iter_move(at);
            }
        };
        if constexpr (std::convertible_to<element, Row>) {
            auto row = std::make_shared<Row>(next());
            Row* const fresh = row.get();
            take(std::shared_ptr<const Row>(std::move(row)), fresh);
        } else if constexpr (std::convertible_to<element, std::shared_ptr<Row>>) {
            std::shared_ptr<Row> row = next();
            Row* const fresh = row.get();
            take(std::shared_ptr<const Row>(std::move(row)), fresh);
        } else {
            take(std::shared_ptr<const Row>(next()), static_cast<Row*>(nullptr));
        }
    }
}

/// Refers to a callable for the length of a call.
template <class Signature>
class function_ref;
template <class Result, class... Arguments>
class function_ref<Result(Arguments...)> {
public:
    template <class Callable>
    function_ref(Callable& callable) noexcept // NOLINT(google-explicit-constructor): that is its use
        : m_callable(&callable), m_call([](void* to, Arguments... arguments) -> Result {
              return (*static_cast<Callable*>(to))(std::forward<Arguments>(arguments)...);
          }) {}
    Result operator()(Arguments... arguments) const {
        return m_call(m_callable, std::forward<Arguments>(arguments)...);
    }

private:
    void* m_callable;
    Result (*m_call)(void*, Arguments...);
};

/// What the user told a memo about its table, with the types of the callables forgotten: one call per fetch, two per row.
template <class Row, class Key>
class row_reader {
public:
    using take_row = function_ref<void(std::shared_ptr<const Row>, Row*)>;

    row_reader() = default;
    row_reader(const row_reader&) = delete;
    row_reader& operator=(const row_reader&) = delete;
    virtual ~row_reader() = default;
    virtual void fetch(std::span<const Key> asked, take_row take) = 0;
    [[nodiscard]] virtual Key key_of(const Row& row) = 0;
};

template <class Row, class Key, class KeyOf, class Fetch>
class row_reader_of final : public row_reader<Row, Key> {
public:
    row_reader_of(KeyOf of, Fetch callback) : m_key_of(std::move(of)), m_fetch(std::move(callback)) {}
    void fetch(std::span<const Key> asked, typename row_reader<Row, Key>::take_row take) override {
        share_rows<Row>(std::invoke(m_fetch, asked), take);
    }
    [[nodiscard]] Key key_of(const Row& row) override { return std::invoke(m_key_of, row); }

private:
    KeyOf m_key_of;
    Fetch m_fetch;
};

/// Set while a callback runs: it may not come back to the memo or the links that called it.
class callback_guard {
public:
    explicit callback_guard(bool& running) noexcept : m_running(&running) { *m_running = true; }
    callback_guard(const callback_guard&) = delete;
    callback_guard& operator=(const callback_guard&) = delete;
    ~callback_guard() { *m_running = false; }

private:
    bool* m_running;
};

/// Where a memo's rows come from: the reader, the prefetcher that they pass through, and what they weigh.
/// Row source of the passes; see key_resolution.hpp.
template <class Row, class Key>
class memo_rows {
public:
    using handle = std::shared_ptr<const Row>;

    template <class KeyOf, class Fetch>
    memo_rows(KeyOf of, Fetch callback, memo_size<Row> size)
        : memo_rows(reader_of(std::move(of), std::move(callback)), std::move(size), nullptr) {}
    template <class KeyOf, class Fetch, class Handles>
    memo_rows(KeyOf of, Fetch callback, memo_size<Row> size, prefetcher<Row, Handles>& nested)
        : memo_rows(reader_of(std::move(of), std::move(callback)), std::move(size), preparer_of(nested)) {
        static_assert(
            gives_fresh_rows<Fetch>(),
            "memoized_prefetch: rows that pass through a prefetcher are given by value or by pointer to non-const");
    }
    [[nodiscard]] std::size_t entries() const noexcept {
        return m_size.entries.value_or(m_size.bytes == unbounded ? default_entries : unbounded);
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return m_size.bytes; }

    template <class Take>
    void fetch(std::span<const Key> asked, Take&& take) {
        std::vector<Row*> fresh;
        auto keep = [&](handle row, Row* raw) {
            if (!row) {
                return; // a null pointer among the rows stands for none
            }
            if (take(std::move(row)) && m_preparer != nullptr) {
                fresh.push_back(raw);
            }
        };
        m_reader->fetch(asked, keep);
        if (m_preparer != nullptr) {
            m_preparer->prepare(fresh);
        }
    }
    [[nodiscard]] Key key_of(const handle& row) const { return m_reader->key_of(*row); }
    [[nodiscard]] std::size_t weight(const handle& row) const {
        return m_size.bytes == unbounded ? 0 : entry_bytes + (row ? m_size.size_of(*row) : 0);
    }

    struct whole_row {
        Key key;
        std::uint32_t tag;
        handle row;
        std::size_t weight;
    };
    /// All rows of a range, the first of each key, ready to be remembered.
    template <class Traits, class Rows>
    [[nodiscard]] std::vector<whole_row> read_all(Rows&& rows) {
        std::vector<whole_row> all;
        std::vector<Row*> fresh;
        key_set<Key, Traits> seen;
        auto keep = [&](handle row, Row* raw) {
            if (!row) {
                return;
            }
            Key key = m_reader->key_of(*row);
            if (m_preparer != nullptr && raw == nullptr) {
                misuse("memoized_prefetch: rows that pass through a prefetcher must not be const already");
            }
            if (seen.add(key) == all.size()) { // else it is the second row with that key
                const std::uint32_t tag = memo_table<Key, handle, Traits>::tag_of(key);
                all.push_back({std::move(key), tag, std::move(row), 0});
                fresh.push_back(raw);
            }
        };
        share_rows<Row>(std::forward<Rows>(rows), keep);
        if (m_preparer != nullptr) {
            // A part at a time: what the rows lead to may be more than its memo can hold.
            constexpr std::size_t part = 2'000;
            for (std::size_t at = 0; at < fresh.size(); at += part) {
                m_preparer->prepare(std::span(fresh).subspan(at, std::min(part, fresh.size() - at)));
            }
        }
        for (whole_row& one : all) {
            one.weight = weight(one.row);
        }
        return all;
    }

private:
    memo_rows(std::unique_ptr<row_reader<Row, Key>> reader, memo_size<Row> size, row_preparer<Row>* preparer)
        : m_reader(std::move(reader)), m_size(std::move(size)), m_preparer(preparer) {
        if (m_size.bytes != unbounded && !m_size.size_of) {
            misuse("memoized_prefetch: a memo that is bounded by bytes needs size_of, which gives the bytes of a row");
        }
    }

    template <class KeyOf, class Fetch>
    static std::unique_ptr<row_reader<Row, Key>> reader_of(KeyOf of, Fetch callback) {
        constexpr bool keyed = key_of_row<KeyOf, Row, Key>;
        static_assert(keyed,
                      "memoized_prefetch: the first argument of a memo gives the key of a row, as &Row::id does");
        constexpr bool fetches = fetches_rows<Fetch, Row, Key>;
        static_assert(fetches,
                      "memoized_prefetch: a memo's fetch callback takes std::span<const Key> and gives a range of Row");
        if constexpr (keyed && fetches) {
            return std::make_unique<row_reader_of<Row, Key, KeyOf, Fetch>>(std::move(of), std::move(callback));
        } else {
            return nullptr;
        }
    }
    template <class Handles>
    static row_preparer<Row>* preparer_of(prefetcher<Row, Handles>& nested) {
        constexpr bool shared = std::same_as<Handles, shared_handles>;
        static_assert(shared,
                      "memoized_prefetch: rows of a memo outlive every pin: attach std::shared_ptr<const T> to them");
        if constexpr (shared) {
            return &nested;
        } else {
            return nullptr;
        }
    }
    template <class Fetch>
    static constexpr bool gives_fresh_rows() {
        if constexpr (fetches_rows<Fetch, Row, Key>) {
            using rows = std::invoke_result_t<Fetch&, std::span<const Key>>;
            return std::convertible_to<element_of<rows>, Row> ||
                   std::convertible_to<element_of<rows>, std::shared_ptr<Row>>;
        } else {
            return true; // said before
        }
    }

    // A node, its cells in the index, and the counts of a shared_ptr.
    static constexpr std::size_t entry_bytes = sizeof(Key) + sizeof(handle) + 48;

    std::unique_ptr<row_reader<Row, Key>> m_reader;
    memo_size<Row> m_size;
    row_preparer<Row>* m_preparer;
};

/// The way of passes and links into a memo.
struct memo_access {
    template <class Memo>
    static auto& table(Memo& memo) noexcept {
        return memo.m_table;
    }
    template <class Memo>
    static auto source(Memo& memo) {
        return memo.source();
    }
    template <class Memo>
    static void check(const Memo& memo) {
        memo.check_not_in_callback();
    }
    template <class Memo>
    static void count(Memo& memo, const counters& more) noexcept {
        memo.count(more);
    }
};

/// Converts without narrowing: an id of another width may, a price may not be taken for a key.
template <class Given, class Key>
concept converts_to_key = std::same_as<std::remove_cvref_t<Given>, Key> || requires(Given&& given) {
    Key{std::forward<Given>(given)};
};
template <class Given, class Key>
concept gives_key = converts_to_key<Given, Key> || requires(Given&& given) {
    {static_cast<bool>(given)};
    { *std::forward<Given>(given) } -> converts_to_key<Key>;
};
template <class Keys, class Key>
inline constexpr bool range_of_keys = false;
template <std::ranges::forward_range Keys, class Key>
inline constexpr bool range_of_keys<Keys, Key> = gives_key<std::ranges::range_reference_t<Keys>, Key>;
/// The key in what a callable gives: a value, or an optional one.
template <class Key, class Given>
[[nodiscard]] key_reading<Key> reading_of(Given&& given) {
    if constexpr (converts_to_key<Given, Key>) {
        return {key_state::present, Key(std::forward<Given>(given))};
    } else {
        return given ? key_reading<Key>{key_state::present, Key(*std::forward<Given>(given))} : key_reading<Key>{};
    }
}

} // namespace detail

/// The rows of some keys, pinned: a pointer per key, null for a key that has no row or is null itself. Valid while this lives,
/// whatever happens to the memo's contents. Must not outlive the memo.
template <class Memo>
class [[nodiscard]] pinned_rows {
public:
    using row_type = typename Memo::row_type;
    using key_type = typename Memo::key_type;
    using handle_type = typename Memo::handle_type;

    pinned_rows(const pinned_rows&) = delete;
    pinned_rows& operator=(const pinned_rows&) = delete;
    ~pinned_rows() {
        counters count;
        count.evicted = m_pass.release();
        detail::memo_access::count(m_memo, count);
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_handles.size(); }
    [[nodiscard]] const row_type* operator[](std::size_t at) const noexcept { return row_of{}(m_handles[at]); }
    /// The same row, to be kept for longer.
    [[nodiscard]] handle_type handle(std::size_t at) const noexcept {
        return m_handles[at] == nullptr ? handle_type{} : *m_handles[at];
    }
    [[nodiscard]] auto begin() const noexcept { return row_pointers(m_handles).begin(); }
    [[nodiscard]] auto end() const noexcept { return row_pointers(m_handles).end(); }

private:
    friend Memo;
    template <class Keys>
    pinned_rows(Memo& memo, Keys& keys) : m_memo(memo), m_pass(detail::memo_access::table(memo)) {
        keys_of<Keys> objects{std::ranges::begin(keys), static_cast<std::size_t>(std::ranges::distance(keys))};
        auto source = detail::memo_access::source(memo);
        m_pass.collect(objects);
        m_pass.resolve(source);
        m_handles = m_pass.rows();
        counters count;
        m_pass.commit({&count, 1});
        detail::memo_access::count(memo, count);
    }

    /// Object model: the keys themselves, read in order.
    template <class Keys>
    struct keys_of {
        std::ranges::iterator_t<Keys> at;
        std::size_t count;

        [[nodiscard]] std::size_t size() const noexcept { return count; }
        [[nodiscard]] static std::size_t width() noexcept { return 1; }
        void read(std::size_t, std::span<key_reading<key_type>> out) { out[0] = detail::reading_of<key_type>(*at++); }
    };

    struct row_of {
        const row_type* operator()(const handle_type* handle) const noexcept {
            return handle == nullptr ? nullptr : handle->get();
        }
    };
    using row_pointers = detail::mapped_span<const handle_type*, row_of>;

    Memo& m_memo;
    std::span<const handle_type* const> m_handles; // within the pass
    to_one_pass<typename Memo::table_type> m_pass;
};

/// `Row`, `Key`: told from the first argument when that is a member pointer or a callable that is not generic.
template <class Row, class Key, class Traits = key_traits<Key>>
class memo {
    static_assert(!std::same_as<Row, detail::not_told>,
                  "memoized_prefetch: row and key cannot be told from this callable: write memo<Row, Key>{...}");
    static_assert(std::same_as<Key, detail::not_told> || memo_key<Key, Traits>,
                  "memoized_prefetch: a key is default-constructible, copyable, and has key_traits (std::hash and ==)");

public:
    using row_type = Row;
    using key_type = Key;
    using handle_type = std::shared_ptr<const Row>;
    using table_type = memo_table<Key, handle_type, Traits>;
    static constexpr bool thread_safe = false;

    /// `key_of`: gives a row's key. `fetch`: called with a `std::span<const Key>`, gives a range of rows, in any order. Rows
    /// that were not asked for are dropped, of two with one key the second; keys without a row are remembered as such.
    /// What `fetch` throws comes out where it was called, and the memo is as before.
    template <class KeyOf, class Fetch>
    memo(KeyOf key_of, Fetch fetch, memo_size<Row> size = {})
        : memo(rows_type(std::move(key_of), std::move(fetch), std::move(size))) {}

    /// Rows just fetched pass through `nested`, once, before they become const and shared.
    template <class KeyOf, class Fetch, class Handles>
    memo(KeyOf key_of, Fetch fetch, memo_size<Row> size, prefetcher<Row, Handles>& nested)
        : memo(rows_type(std::move(key_of), std::move(fetch), std::move(size), nested)) {}
    template <class KeyOf, class Fetch, class Handles>
    memo(KeyOf, Fetch, memo_size<Row>, prefetcher<Row, Handles>&&) = delete; // it would be gone at once

    memo(const memo&) = delete;
    memo& operator=(const memo&) = delete;
    ~memo() {
        if (m_table.passes() != 0) {
            detail::give_up("memoized_prefetch: a memo was destroyed while rows of it were pinned");
        }
    }

    /// Rows for a forward range of keys, which may be optional; without objects.
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

    /// These are all rows there are: other keys are known to have none and are not fetched, until `clear` or `invalidate`.
    /// Replaces what was remembered. False when they are more than the memo may hold: the first ones are remembered then, and
    /// other keys are fetched as usual. O(rows). When it throws, nothing has changed.
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

    /// The key's row, or its absence, is forgotten; handles that were given out stay as they are. O(1).
    void invalidate(const Key& key) {
        check_not_in_callback();
        m_table.forget_key(key); // first: what may throw
        m_table.next_generation();
        m_knows_all = false;
        m_table.release_buried();
    }
    /// Everything is forgotten. O(size).
    void clear() {
        check_not_in_callback();
        m_knows_all = false;
        m_table.clear();
    }

    [[nodiscard]] memo_stats stats() const noexcept {
        memo_stats result{m_count};
        result.size = m_table.size();
        result.largest = m_table.largest();
        result.bytes = m_table.bytes();
        result.fetched_again = m_table.distances().fetched_again();
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
            detail::misuse("memoized_prefetch: a fetch callback used the memo that had called it");
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
