/// instance_list: the instances of one level of a lookup.
#pragma once

#include "object_ref.hpp"
#include "py_allocator.hpp"

#include <cstddef>

namespace memoized_prefetch::binding {

/// A snapshot, so that other code cannot change the list meanwhile.
class instance_list {
public:
    explicit instance_list(nb::handle objects) : m_objects(checked(PySequence_Tuple(objects.ptr()))) {}
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(PyTuple_GET_SIZE(m_objects.get()));
    }
    [[nodiscard]] PyObject* operator[](std::size_t at) const noexcept {
        return PyTuple_GET_ITEM(m_objects.get(), static_cast<Py_ssize_t>(at));
    }

    /// Appends those with these numbers to a list.
    void append_to(nb::list list, const py_vector<std::size_t>& numbers) const {
        for (const std::size_t number : numbers) {
            checked(PyList_Append(list.ptr(), (*this)[number]));
        }
    }

private:
    object_ref m_objects;
};

} // namespace memoized_prefetch::binding
