/// py_allocator: gives the engine's containers memory from Python's allocator, so that tracemalloc sees it and tests
/// can make each allocation fail. Needs the GIL.
#pragma once

#include <Python.h>

#include <cstddef>
#include <limits>
#include <new>
#include <vector>

namespace memoized_prefetch::binding {

template <class T>
struct py_allocator {
    using value_type = T;

    py_allocator() noexcept = default;
    template <class Other>
    py_allocator(const py_allocator<Other>&) noexcept {} // NOLINT(google-explicit-constructor): as allocators convert

    [[nodiscard]] T* allocate(std::size_t count) {
        if (count <= std::numeric_limits<std::size_t>::max() / sizeof(T)) {
            if (void* memory = PyMem_Malloc(count * sizeof(T))) {
                return static_cast<T*>(memory);
            }
        }
        throw std::bad_alloc();
    }
    void deallocate(T* memory, std::size_t) noexcept { PyMem_Free(memory); }

    template <class Other>
    bool operator==(const py_allocator<Other>&) const noexcept {
        return true;
    }
};

template <class T>
using py_vector = std::vector<T, py_allocator<T>>;

} // namespace memoized_prefetch::binding
