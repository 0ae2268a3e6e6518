/// stable_array: a growing array whose elements keep their addresses.
///
///   m_blocks: [ block ][ block ][ block ]       512 elements a block; element i is [i / 512][i % 512]
///
/// Growing copies nothing, and only the last block has unused room. In a std::vector, which grows by half, the nodes of
/// a memo being filled took up to 20 bytes more per entry, and a reference to a node was valid only until the next
/// entry. The price is a second load per access: the address of the block, which is in the cache.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class T, class Allocator = std::allocator<std::byte>>
class stable_array {
    using allocator_type = typename std::allocator_traits<Allocator>::template rebind_alloc<T>;
    using traits = std::allocator_traits<allocator_type>;

public:
    stable_array() = default;
    stable_array(const stable_array&) = delete;
    stable_array& operator=(const stable_array&) = delete;
    ~stable_array() {
        for (std::size_t at = 0; at < m_size; ++at) {
            (*this)[at].~T();
        }
        allocator_type allocator;
        for (T* const block : m_blocks) {
            traits::deallocate(allocator, block, block_size);
        }
    }

    [[nodiscard]] T& operator[](std::size_t at) noexcept { return m_blocks[at / block_size][at % block_size]; }
    [[nodiscard]] const T& operator[](std::size_t at) const noexcept {
        return m_blocks[at / block_size][at % block_size];
    }
    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    [[nodiscard]] std::size_t capacity() const noexcept { return m_blocks.size() * block_size; }
    /// Bytes allocated.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return m_blocks.capacity() * sizeof(T*) + capacity() * sizeof(T);
    }

    /// Makes room for `count` elements in all; no element is changed when it throws.
    void reserve(std::size_t count) {
        while (capacity() < count) {
            if (m_blocks.size() == m_blocks.capacity()) {
                m_blocks.reserve(2 * m_blocks.size() + 1);
            }
            allocator_type allocator;
            m_blocks.push_back(traits::allocate(allocator, block_size));
        }
    }
    void swap(stable_array& other) noexcept {
        m_blocks.swap(other.m_blocks);
        std::swap(m_size, other.m_size);
    }
    /// Needs room from `reserve`.
    T& emplace_back() noexcept {
        T* const added = new (&(*this)[m_size]) T();
        ++m_size;
        return *added;
    }

private:
    static constexpr std::size_t block_size = 512;

    std::vector<T*, typename std::allocator_traits<Allocator>::template rebind_alloc<T*>> m_blocks;
    std::size_t m_size = 0;
};

} // namespace memoized_prefetch
