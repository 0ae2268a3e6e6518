/// mapped_span: a random-access range that applies a function to the elements of a span. std::views cannot do this with
/// clang 14.
#pragma once

#include <compare>
#include <cstddef>
#include <iterator>
#include <span>
#include <type_traits>

namespace memoized_prefetch::detail {

template <class Element, class Map>
class mapped_span {
public:
    class iterator {
    public:
        using iterator_concept = std::random_access_iterator_tag;
        using iterator_category = std::input_iterator_tag;
        using reference = std::invoke_result_t<Map, const Element&>;
        using value_type = std::remove_cvref_t<reference>;
        using difference_type = std::ptrdiff_t;
        using pointer = void;

        iterator() = default;
        explicit iterator(const Element* at) noexcept : m_at(at) {}
        reference operator*() const noexcept { return Map{}(*m_at); }
        reference operator[](difference_type by) const noexcept { return Map{}(m_at[by]); }
        iterator& operator+=(difference_type by) noexcept {
            m_at += by;
            return *this;
        }
        iterator& operator-=(difference_type by) noexcept { return *this += -by; }
        iterator& operator++() noexcept { return *this += 1; }
        iterator& operator--() noexcept { return *this -= 1; }
        // A const return type would not satisfy the standard's iterator concepts.
        iterator operator++(int) noexcept { return iterator(m_at++); } // NOLINT(cert-dcl21-cpp)
        iterator operator--(int) noexcept { return iterator(m_at--); } // NOLINT(cert-dcl21-cpp)
        friend iterator operator+(iterator at, difference_type by) noexcept { return at += by; }
        friend iterator operator+(difference_type by, iterator at) noexcept { return at += by; }
        friend iterator operator-(iterator at, difference_type by) noexcept { return at -= by; }
        friend difference_type operator-(iterator left, iterator right) noexcept { return left.m_at - right.m_at; }
        friend auto operator<=>(iterator, iterator) noexcept = default;

    private:
        const Element* m_at = nullptr;
    };

    explicit mapped_span(std::span<const Element> elements) noexcept : m_elements(elements) {}
    [[nodiscard]] iterator begin() const noexcept { return iterator(m_elements.data()); }
    [[nodiscard]] iterator end() const noexcept { return iterator(m_elements.data() + m_elements.size()); }
    [[nodiscard]] std::size_t size() const noexcept { return m_elements.size(); }
    [[nodiscard]] bool empty() const noexcept { return m_elements.empty(); }
    [[nodiscard]] decltype(auto) operator[](std::size_t at) const noexcept { return Map{}(m_elements[at]); }

private:
    std::span<const Element> m_elements;
};

} // namespace memoized_prefetch::detail
