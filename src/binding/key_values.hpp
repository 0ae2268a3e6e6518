/// Key values of instances as the engine's passes take them, and the call that loads the deferred ones.
#pragma once

#include "instance_list.hpp"
#include "py_key.hpp"

#include <memoized_prefetch/passes/key_reading.hpp>

#include <span>
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

inline void call_load_deferred(const object_ref& load_deferred, const instance_list& objects,
                               std::span<const std::size_t> deferred) {
    const object_ref list = checked(PyList_New(static_cast<Py_ssize_t>(deferred.size())));
    for (std::size_t at = 0; at < deferred.size(); ++at) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(at), object_ref::borrow(objects[deferred[at]]).release());
    }
    checked(PyObject_CallFunctionObjArgs(load_deferred.get(), list.get(), nullptr));
}

} // namespace memoized_prefetch::binding
