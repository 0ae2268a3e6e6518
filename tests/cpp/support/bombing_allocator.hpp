/// An allocator that counts, and whose nth allocation fails.
#pragma once

#include "tripwire.hpp"

#include <cstddef>
#include <memory>
#include <new>

namespace support {

using allocations = tripwire<struct allocation, std::bad_alloc>;

template <class T>
struct bombing_allocator {
    using value_type = T;

    bombing_allocator() = default;
    template <class Other>
    bombing_allocator(const bombing_allocator<Other>&) noexcept {} // NOLINT: implicit, as allocators are

    T* allocate(std::size_t count) {
        allocations::step();
        return std::allocator<T>{}.allocate(count);
    }
    void deallocate(T* memory, std::size_t count) noexcept { std::allocator<T>{}.deallocate(memory, count); }

    friend bool operator==(const bombing_allocator&, const bombing_allocator&) noexcept { return true; }
};

} // namespace support
