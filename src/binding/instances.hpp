/// Reads and writes the parts of a Django model instance that hold relations.
#pragma once

#include "object_ref.hpp"
#include "py_key.hpp"

#include <memoized_prefetch/detail/compiler.hpp>

namespace memoized_prefetch::binding {

/// Attribute names used on every object, interned once per process, and the empty tuple.
struct names {
    PyObject* state;                    // _state
    PyObject* fields_cache;             // fields_cache
    PyObject* prefetched_objects_cache; // _prefetched_objects_cache
    PyObject* result_cache;             // _result_cache
    PyObject* memo_source;              // _memo_source
    PyObject* db;                       // db
    PyObject* no_arguments;             // ()
    PyObject* receivers;                // receivers
    PyObject* send;                     // send
    PyObject* of_send;                  // ("sender", "instance"), names of arguments
    PyObject* of_receivers;             // ("signal", "sender", "instance")
};
extern names interned;
void intern_names();

/// `prefetch_object` starts to load an instance, and `prefetch_attributes` then the place of its attributes, so that a
/// later read does not wait for memory. Rows of a large memo are not in the CPU's cache, and waiting for them was a
/// third of the time of a warm chunk. Where CPython keeps attributes is not part of its API, but a wrong guess is
/// harmless: the hint then has no effect.
inline void prefetch_object(const PyObject* object) noexcept {
    detail::prefetch_to_write(object);
    detail::prefetch_to_read(reinterpret_cast<const char*>(object) - 32); // 3.11, 3.12: pointers before the object
    detail::prefetch_to_read(reinterpret_cast<const char*>(object) + 64); // 3.13: values behind it
}
inline void prefetch_attributes([[maybe_unused]] const PyObject* object) noexcept {
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030D0000
    constexpr std::ptrdiff_t values = PY_VERSION_HEX < 0x030C0000 ? -4 : -3;
    if ((Py_TYPE(object)->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0) {
        detail::prefetch_to_read(reinterpret_cast<const char* const*>(object)[values]); // 3.12 marks it by a low bit
    }
#elif PY_VERSION_HEX < 0x030B0000
    if (const Py_ssize_t offset = Py_TYPE(object)->tp_dictoffset; offset > 0) {
        detail::prefetch_to_read(*reinterpret_cast<const char* const*>(reinterpret_cast<const char*>(object) + offset));
    }
#endif
}

/// The same for the items of a dict that has been loaded.
inline void prefetch_items(PyObject* dict) noexcept {
    const auto* items = reinterpret_cast<const PyDictObject*>(dict);
    detail::prefetch_to_read(items->ma_values == nullptr ? static_cast<const void*>(items->ma_keys)
                                                         : static_cast<const void*>(items->ma_values));
}

/// The object's dict, borrowed; null if there is none yet, or if that cannot be told. CPython 3.11 and later create the
/// dict when it is first asked for, and it then takes memory for as long as the instance lives.
inline PyObject* made_dict([[maybe_unused]] PyObject* object) noexcept {
#if PY_VERSION_HEX < 0x030B0000
    PyObject** dict = _PyObject_GetDictPtr(object);
    return dict == nullptr ? nullptr : *dict;
#elif PY_VERSION_HEX < 0x030F0000 && !defined(Py_GIL_DISABLED)
    if ((Py_TYPE(object)->tp_flags & Py_TPFLAGS_MANAGED_DICT) == 0) {
        return nullptr;
    }
    // -3 is MANAGED_DICT_OFFSET in these versions. On 3.12 the low bit marks a pointer to values without a dict.
    PyObject* dict = reinterpret_cast<PyObject**>(object)[-3];
    return (reinterpret_cast<std::uintptr_t>(dict) & 1U) != 0 ? nullptr : dict;
#else
    return nullptr;
#endif
}

/// The attribute's value, or null if there is none. The class's `__getattr__` may run.
inline object_ref optional_attribute(PyObject* object, PyObject* name) {
    PyObject* value = nullptr;
#if PY_VERSION_HEX >= 0x030D0000
    const int found = PyObject_GetOptionalAttr(object, name, &value);
#else
    const int found = _PyObject_LookupAttr(object, name, &value);
#endif
    checked(found);
    return object_ref::steal(value);
}

/// Whether the object has a `_state`. The attribute of a `to_attr` may hold anything.
inline bool is_instance_of_model(PyObject* object) {
    return static_cast<bool>(optional_attribute(object, interned.state));
}

/// `state.fields_cache`, which Django's descriptor creates if it is missing. Always a dict.
inline object_ref fields_cache_of_state(PyObject* object, PyObject* state) {
    object_ref cache = checked(PyObject_GetAttr(state, interned.fields_cache));
    if (!PyDict_Check(cache.get())) {
        PyErr_Format(PyExc_TypeError, "%.200s._state.fields_cache must be a dict, got %.200s", Py_TYPE(object)->tp_name,
                     Py_TYPE(cache.get())->tp_name);
        throw_python_error();
    }
    return cache;
}

/// `object._state.fields_cache`.
inline object_ref fields_cache_of(PyObject* object) {
    return fields_cache_of_state(object, checked(PyObject_GetAttr(object, interned.state)).get());
}

/// `object._state`, found in the object's dict with half the instructions of a look-up through the class.
inline object_ref state_of(PyObject* object, PyObject* dict) {
    PyObject* state = PyDict_GetItemWithError(dict, interned.state);
    if (state != nullptr) {
        return object_ref::borrow(state);
    }
    if (PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return checked(PyObject_GetAttr(object, interned.state));
}

/// How the value of a column is read from an instance.
///
/// Most columns are read as attributes: their descriptor has no `__set__`, so a loaded value is found in the instance
/// first, and Django fetches a deferred one. Foreign key columns have a descriptor with `__set__`, written in Python
/// (149 ns per read). These columns, and keys that may be deferred, are read from the instance's dict (53 ns).
struct column {
    object_ref name;
    bool in_dict = false;

    /// The value, or null if it is deferred (only with `in_dict`).
    [[nodiscard]] object_ref read(PyObject* object) const {
        if (!in_dict) {
            return checked(PyObject_GetAttr(object, name.get()));
        }
        const object_ref dict = checked(PyObject_GenericGetDict(object, nullptr));
        return read_from(dict.get());
    }
    [[nodiscard]] object_ref read_from(PyObject* dict) const {
        PyObject* value = PyDict_GetItemWithError(dict, name.get());
        if (value == nullptr && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        return object_ref::borrow(value);
    }
    /// The value. Django fetches it if it is deferred.
    [[nodiscard]] object_ref load(PyObject* object) const {
        object_ref value = read(object);
        return value ? std::move(value) : checked(PyObject_GetAttr(object, name.get()));
    }
};

} // namespace memoized_prefetch::binding
