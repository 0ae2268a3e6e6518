/// page_range: a table in pages ordered by key, for the adapters. Each page is a query of its own, so no statement
/// stays open.
#pragma once

#include <cstddef>
#include <functional>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch::detail {

/// What a mapper returns for an adapter's row, and the key of that.
template <class Map, class Source>
using page_row = std::remove_cvref_t<std::invoke_result_t<Map&, const Source&>>;
template <class Map, class Source, class KeyOf>
using page_key = std::remove_cvref_t<std::invoke_result_t<KeyOf&, const page_row<Map, Source>&>>;

/// An input range of `std::vector<Row>&`, none of them empty. A page is valid until the next one is read; you may move
/// from it. `Read`: `read(const Key* after, std::vector<Row>& page)` appends the next `size` rows after that key, or
/// the first ones if it is null.
template <class Row, class Key, class KeyOf, class Read>
class page_range {
public:
    class iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = std::vector<Row>;
        using difference_type = std::ptrdiff_t;

        explicit iterator(page_range& pages) noexcept : m_pages(&pages) {}
        [[nodiscard]] std::vector<Row>& operator*() const noexcept { return m_pages->m_page; }
        iterator& operator++() {
            m_pages->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const noexcept { return m_pages->m_ended; }

    private:
        page_range* m_pages;
    };

    page_range(Read read, KeyOf key_of, std::size_t size, std::optional<Key> start)
        : m_read(std::move(read)), m_key_of(std::move(key_of)), m_size(size), m_start(std::move(start)) {}

    /// Starts from the first page each time.
    [[nodiscard]] iterator begin() {
        m_after = m_start;
        m_last_was_read = false;
        next();
        return iterator(*this);
    }
    [[nodiscard]] static std::default_sentinel_t end() noexcept { return {}; }

private:
    void next() {
        m_page.clear();
        m_ended = true;
        if (m_last_was_read) {
            return;
        }
        m_read(m_after ? &*m_after : nullptr, m_page);
        m_last_was_read = m_page.size() < m_size;
        m_ended = m_page.empty();
        if (!m_ended) {
            m_after.emplace(std::invoke(m_key_of, std::as_const(m_page.back())));
        }
    }

    Read m_read;
    KeyOf m_key_of;
    std::size_t m_size;
    std::optional<Key> m_start;
    std::optional<Key> m_after; // the last key read; the page itself may have been moved from
    std::vector<Row> m_page;
    bool m_last_was_read = false;
    bool m_ended = true;
};

} // namespace memoized_prefetch::detail
