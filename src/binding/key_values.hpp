/// Key values of instances as the engine's passes take them, and lists of keys and rows as Python has them.
#pragma once

#include "py_allocator.hpp"
#include "py_key.hpp"

#include <memoized_prefetch/passes/key_reading.hpp>

#include <utility>

namespace memoized_prefetch::binding {

/// The value as a key for the engine. A null reference means deferred; only None is a null key.
inline key_reading<py_key> reading_of(object_ref value) {
    if (!value) {
        return {key_state::deferred, {}};
    }
    if (value.get() == Py_None) {
        return {key_state::null, {}};
    }
    return {key_state::present, py_key::of(std::move(value))};
}

/// The same, with the value translated by a dict, if there is one. A value that the dict lacks is a null key.
inline key_reading<py_key> reading_of(object_ref value, const object_ref& translated) {
    if (!translated || !value || value.get() == Py_None) {
        return reading_of(std::move(value));
    }
    object_ref key = object_ref::borrow(PyDict_GetItemWithError(translated.get(), value.get()));
    if (!key && PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return key ? reading_of(std::move(key)) : key_reading<py_key>{key_state::null, {}};
}

inline nb::object list_of(const py_vector<py_key>& keys) {
    object_ref list = checked(PyList_New(static_cast<Py_ssize_t>(keys.size())));
    for (std::size_t at = 0; at < keys.size(); ++at) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(at), object_ref(keys[at].object).release());
    }
    return nb::steal(list.release());
}

/// Calls `take(row)` for each item of an iterable, which nobody can change meanwhile.
template <class Take>
void take_each(nb::handle iterable, Take&& take) {
    const object_ref rows = checked(PySequence_Tuple(iterable.ptr()));
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at) {
        take(object_ref::borrow(PyTuple_GET_ITEM(rows.get(), at)));
    }
}

} // namespace memoized_prefetch::binding
