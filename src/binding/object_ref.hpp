/// object_ref: one owned reference to a Python object, or null. Copying and dropping it needs the GIL. Dropping the
/// last reference to an object may run any code.
#pragma once

#include <Python.h>
#include <memoized_prefetch/detail/compiler.hpp>
#include <nanobind/nanobind.h>

#include <utility>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

class object_ref {
public:
    object_ref() noexcept = default;
    object_ref(const object_ref& other) noexcept : m_object(other.m_object) { Py_XINCREF(m_object); }
    object_ref(object_ref&& other) noexcept : m_object(std::exchange(other.m_object, nullptr)) {}
    object_ref& operator=(const object_ref& other) noexcept { return *this = object_ref(other); }
    object_ref& operator=(object_ref&& other) noexcept {
        const object_ref gone = steal(std::exchange(m_object, std::exchange(other.m_object, nullptr)));
        return *this;
    }
    ~object_ref() { Py_XDECREF(m_object); }

    /// Takes over a reference that the caller owns.
    static object_ref steal(PyObject* object) noexcept {
        object_ref ref;
        ref.m_object = object;
        return ref;
    }
    /// Adds a reference to a borrowed object.
    static object_ref borrow(PyObject* object) noexcept {
        Py_XINCREF(object);
        return steal(object);
    }

    [[nodiscard]] PyObject* get() const noexcept { return m_object; }
    /// Hands the reference to the caller.
    [[nodiscard]] PyObject* release() noexcept { return std::exchange(m_object, nullptr); }
    explicit operator bool() const noexcept { return m_object != nullptr; }

private:
    PyObject* m_object = nullptr;
};

/// What nanobind hands over, with a reference of its own.
inline object_ref from_nb(nb::handle object) noexcept { return object_ref::borrow(object.ptr()); }
/// The same, with null for None.
inline object_ref optional_from_nb(nb::handle object) noexcept {
    return object.is_none() ? object_ref() : from_nb(object);
}

/// Throws the Python error that is set. Not inlined, to keep this cold code out of the callers' loops.
[[noreturn]] MEMOIZED_PREFETCH_COLD inline void throw_python_error() { throw nb::python_error(); }

/// A new reference from the C API, or the error that it set.
inline object_ref checked(PyObject* new_reference) {
    if (new_reference == nullptr) {
        throw_python_error();
    }
    return object_ref::steal(new_reference);
}
/// A status from the C API that is negative on error.
inline int checked(int status) {
    if (status < 0) {
        throw_python_error();
    }
    return status;
}

} // namespace memoized_prefetch::binding
