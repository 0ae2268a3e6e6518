/// roomy_array: an array of plain values. Room is made before values are added, and `clear` keeps it.
///
/// std::vector::push_back checks each time whether it has to grow. With half a dozen arrays per key, that was a tenth
/// of the instructions of resolving a chunk.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class T, class Allocator = std::allocator<std::byte>>
class roomy_array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    /// Makes room for `count` elements in all; nothing is changed when it throws.
    void reserve(std::size_t count) {
        if (m_room.size() < count) {
            m_room.resize(count);
        }
    }
    [[nodiscard]] std::size_t capacity() const noexcept { return m_room.size(); }

    /// Needs room from `reserve`.
    void append(T value) noexcept {
        assert(m_size < m_room.size());
        m_room[m_size++] = value;
    }
    /// Adds `count` values that were written at `end()`, within the room.
    void added(std::size_t count) noexcept {
        assert(count <= m_room.size() - m_size);
        m_size += count;
    }
    /// Like std::vector::resize.
    void resize(std::size_t count, T value) {
        reserve(count);
        if (count > m_size) {
            std::fill(begin() + m_size, begin() + count, value);
        }
        m_size = count;
    }
    void clear() noexcept { m_size = 0; }

    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    [[nodiscard]] bool empty() const noexcept { return m_size == 0; }
    [[nodiscard]] T& operator[](std::size_t at) noexcept {
        assert(at < m_size);
        return m_room[at];
    }
    [[nodiscard]] const T& operator[](std::size_t at) const noexcept {
        assert(at < m_size);
        return m_room[at];
    }
    [[nodiscard]] T* data() noexcept { return m_room.data(); }
    [[nodiscard]] const T* data() const noexcept { return m_room.data(); }
    [[nodiscard]] T* begin() noexcept { return m_room.data(); }
    [[nodiscard]] T* end() noexcept { return m_room.data() + m_size; }
    [[nodiscard]] const T* begin() const noexcept { return m_room.data(); }
    [[nodiscard]] const T* end() const noexcept { return m_room.data() + m_size; }

    roomy_array() = default;
    roomy_array(const roomy_array&) = delete;
    roomy_array& operator=(const roomy_array&) = delete;
    roomy_array(roomy_array&& from) noexcept : m_room(std::move(from.m_room)), m_size(std::exchange(from.m_size, 0)) {}
    roomy_array& operator=(roomy_array&& from) noexcept {
        m_room = std::move(from.m_room);
        m_size = std::exchange(from.m_size, 0);
        return *this;
    }
    ~roomy_array() = default;

private:
    std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>> m_room;
    std::size_t m_size = 0;
};

} // namespace memoized_prefetch
