/// block_array: a growing array that never moves what it holds, so that it never takes twice its memory.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace memoized_prefetch::detail {

template <class T>
class block_array {
public:
    void push_back(T value) {
        if (m_size == m_blocks.size() * block_size) {
            m_blocks.push_back(
                std::unique_ptr<T[]>(new T[block_size])); // NOLINT(*-avoid-c-arrays): left as it is, not zeroed
        }
        m_blocks[m_size / block_size][m_size % block_size] = value;
        ++m_size;
    }
    [[nodiscard]] T operator[](std::size_t at) const noexcept { return m_blocks[at / block_size][at % block_size]; }
    [[nodiscard]] T& operator[](std::size_t at) noexcept { return m_blocks[at / block_size][at % block_size]; }
    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    void resize(std::size_t size, T value) {
        while (m_size < size) {
            push_back(value);
        }
        m_size = size;
    }

private:
    static constexpr std::size_t block_size = std::size_t{1} << 15U;
    std::vector<std::unique_ptr<T[]>> m_blocks; // NOLINT(*-avoid-c-arrays)
    std::size_t m_size = 0;
};

} // namespace memoized_prefetch::detail
