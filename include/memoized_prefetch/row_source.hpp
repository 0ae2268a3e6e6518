/// row_source: where a memo's rows come from. It calls the user's fetch callback, passes fresh rows through a
/// prefetcher, and weighs them.
#pragma once

#include <memoized_prefetch/detail/logic_violation.hpp>
#include <memoized_prefetch/tables/key_set.hpp>
#include <memoized_prefetch/tables/memo_table.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// Prefetchers attach shared handles by default; see relation.hpp.
struct shared_handles;
template <class Object, class Handles = shared_handles>
class prefetcher;

/// How much a memo keeps between chunks. During a chunk it holds everything that the chunk needs, even if that is more.
template <class Row>
struct memo_size {
    /// Rows and absences; `unbounded` for no limit. By default 10,000, or no limit if `bytes` is given.
    std::optional<std::size_t> entries = {};
    /// The bytes of all rows and of their entries in the table. Needs `size_of`.
    std::size_t bytes = unbounded;
    /// Returns the bytes of a row and of what it owns. Called once per row, when it is remembered.
    std::function<std::size_t(const Row&)> size_of = {};
};
/// How many entries are kept if nothing is said.
inline constexpr std::size_t default_entries = 10'000;

/// A callable that returns a row's key, such as a member pointer.
template <class KeyOf, class Row, class Key>
concept key_of_row = requires(KeyOf& key_of, const Row& row) {
    { std::invoke(key_of, row) } -> std::convertible_to<Key>;
};

namespace detail {
/// The type of a range's elements. Those of a container passed as an rvalue may be moved from.
template <class Range>
using element_of =
    std::conditional_t<std::is_lvalue_reference_v<Range> || std::ranges::view<std::remove_cvref_t<Range>>,
                       std::ranges::range_reference_t<Range>, std::ranges::range_rvalue_reference_t<Range>>;
} // namespace detail

/// A range of rows: values, smart pointers to rows, or shared pointers to const rows.
template <class Range, class Row>
concept range_of_rows = std::ranges::input_range<Range> &&
    (std::convertible_to<detail::element_of<Range>, Row> ||
     std::convertible_to<detail::element_of<Range>, std::shared_ptr<const Row>>);

/// A callback that takes the distinct keys that are not in memory and returns a range of their rows, in any order.
template <class Fetch, class Row, class Key>
concept fetches_rows = std::invocable<Fetch&, std::span<const Key>> &&
    range_of_rows<std::invoke_result_t<Fetch&, std::span<const Key>>, Row>;

namespace detail {

/// A prefetcher as a memo sees it: it attaches related rows to fresh rows before they become const.
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

/// Calls `take(std::shared_ptr<const Row>, Row*)` for every row of a range. The `Row*` is null if the range gives const
/// rows.
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

/// Refers to a callable without owning it.
template <class Signature>
class function_ref;
template <class Result, class... Arguments>
class function_ref<Result(Arguments...)> {
public:
    template <class Callable>
    function_ref(Callable& callable) noexcept // NOLINT(google-explicit-constructor): converts at calls
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

/// The user's callables behind virtual functions, to erase their types. Costs one call per fetch and two per row.
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

/// Marks that a callback is running. The callback must not use the memo or links that called it.
class callback_guard {
public:
    explicit callback_guard(bool& running) noexcept : m_running(&running) { *m_running = true; }
    callback_guard(const callback_guard&) = delete;
    callback_guard& operator=(const callback_guard&) = delete;
    ~callback_guard() { *m_running = false; }

private:
    bool* m_running;
};

/// Reads a memo's rows, passes them through its prefetcher and weighs them. The memo builds the row source of its
/// passes on this; see row_source_traits.hpp.
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
            "memoized_prefetch: rows that pass through a prefetcher are returned by value or by pointer to non-const");
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
                return; // a null pointer stands for no row
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
    /// All rows of a range, ready to be remembered. Of several rows with one key, only the first.
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
                logic_violation("memoized_prefetch: rows that pass through a prefetcher must not be const");
            }
            if (seen.add(key) == all.size()) { // otherwise the key has a row already
                const std::uint32_t tag = memo_table<Key, handle, Traits>::tag_of(key);
                all.push_back({std::move(key), tag, std::move(row), 0});
                fresh.push_back(raw);
            }
        };
        share_rows<Row>(std::forward<Rows>(rows), keep);
        if (m_preparer != nullptr) {
            // In parts: all related rows together may be more than their memo can hold.
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
            logic_violation(
                "memoized_prefetch: a memo bounded by bytes needs size_of, which returns the bytes of a row");
        }
    }

    template <class KeyOf, class Fetch>
    static std::unique_ptr<row_reader<Row, Key>> reader_of(KeyOf of, Fetch callback) {
        constexpr bool keyed = key_of_row<KeyOf, Row, Key>;
        static_assert(keyed,
                      "memoized_prefetch: the first argument of a memo returns the key of a row, as &Row::id does");
        constexpr bool fetches = fetches_rows<Fetch, Row, Key>;
        static_assert(
            fetches,
            "memoized_prefetch: a memo's fetch callback takes std::span<const Key> and returns a range of Row");
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
                      "memoized_prefetch: rows of a memo outlive pins: attach std::shared_ptr<const T> to them");
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
            return true; // reader_of reports this
        }
    }

    // A node, its cells in the index, and the reference counts of a shared_ptr.
    static constexpr std::size_t entry_bytes = sizeof(Key) + sizeof(handle) + 48;

    std::unique_ptr<row_reader<Row, Key>> m_reader;
    memo_size<Row> m_size;
    row_preparer<Row>* m_preparer;
};

} // namespace detail

} // namespace memoized_prefetch
