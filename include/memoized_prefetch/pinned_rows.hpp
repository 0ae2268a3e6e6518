/// pinned_rows: what `memo::resolve` returns.
#pragma once

#include <memoized_prefetch/detail/mapped_span.hpp>
#include <memoized_prefetch/memo_access.hpp>
#include <memoized_prefetch/passes/to_one_pass.hpp>

#include <cstddef>
#include <ranges>
#include <span>

namespace memoized_prefetch {

/// The rows of some keys, pinned: a pointer per key, null if the key has no row or is null itself. The pointers are
/// valid while this lives, whatever happens to the contents of the memo. Must not outlive the memo.
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

    /// How many keys there were.
    [[nodiscard]] std::size_t size() const noexcept { return m_handles.size(); }
    /// The row of the key at this place, or null.
    [[nodiscard]] const row_type* operator[](std::size_t at) const noexcept { return row_of{}(m_handles[at]); }
    /// A handle to the same row, which keeps it for longer.
    [[nodiscard]] handle_type handle(std::size_t at) const noexcept {
        return m_handles[at] == nullptr ? handle_type{} : *m_handles[at];
    }
    [[nodiscard]] auto begin() const noexcept { return row_pointers(m_handles).begin(); }
    [[nodiscard]] auto end() const noexcept { return row_pointers(m_handles).end(); }

private:
    friend Memo;
    template <class Keys>
    [[nodiscard]] static std::size_t count_of(Keys& keys) {
        if constexpr (std::ranges::sized_range<Keys>) {
            return static_cast<std::size_t>(std::ranges::size(keys));
        } else { // not std::ranges::distance, which libc++ 14 lacks
            std::size_t count = 0;
            for (auto at = std::ranges::begin(keys); at != std::ranges::end(keys); ++at) {
                ++count;
            }
            return count;
        }
    }
    template <class Keys>
    pinned_rows(Memo& memo, Keys& keys) : m_memo(memo), m_pass(detail::memo_access::table(memo)) {
        keys_of<Keys> objects{std::ranges::begin(keys), count_of(keys)};
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

} // namespace memoized_prefetch
