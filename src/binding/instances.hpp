/// Reading and writing the parts of a Django model instance that relations live in.
#pragma once

#include "object_ref.hpp"
#include "py_key.hpp"

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
};
extern names interned;
void intern_names();

/// Starts to load an instance, then what its attributes are read through, so that a later read does not wait for memory:
/// rows of a large memo are in no cache, and waiting for them was a third of the time of a warm chunk. Where CPython keeps
/// the attributes is no API, but a hint may be wrong: elsewhere than expected it only does nothing.
inline void prefetch_object(const PyObject* object) noexcept {
    __builtin_prefetch(object, 1);
    __builtin_prefetch(reinterpret_cast<const char*>(object) - 32); // 3.11, 3.12: pointers before the object
    __builtin_prefetch(reinterpret_cast<const char*>(object) + 64); // 3.13: values behind it
}
inline void prefetch_attributes([[maybe_unused]] const PyObject* object) noexcept {
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030D0000
    constexpr std::ptrdiff_t values = PY_VERSION_HEX < 0x030C0000 ? -4 : -3;
    if ((Py_TYPE(object)->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0) {
        __builtin_prefetch(reinterpret_cast<const char* const*>(object)[values]); // 3.12 marks it by a low bit
    }
#elif PY_VERSION_HEX < 0x030B0000
    if (const Py_ssize_t offset = Py_TYPE(object)->tp_dictoffset; offset > 0) {
        __builtin_prefetch(*reinterpret_cast<const char* const*>(reinterpret_cast<const char*>(object) + offset));
    }
#endif
}

/// The same for a dict that has been loaded.
inline void prefetch_items(PyObject* dict) noexcept {
    const auto* items = reinterpret_cast<const PyDictObject*>(dict);
    __builtin_prefetch(items->ma_values == nullptr ? static_cast<const void*>(items->ma_keys)
                                                   : static_cast<const void*>(items->ma_values));
}

/// The object's dict, borrowed, if it has one that is made: CPython 3.11 and later make it when somebody asks for it, which
/// costs what it takes for as long as the instance lives. Null too where that cannot be told.
inline PyObject* made_dict([[maybe_unused]] PyObject* object) noexcept {
#if PY_VERSION_HEX < 0x030B0000
    PyObject** dict = _PyObject_GetDictPtr(object);
    return dict == nullptr ? nullptr : *dict;
#elif PY_VERSION_HEX < 0x030F0000 && !defined(Py_GIL_DISABLED)
    if ((Py_TYPE(object)->tp_flags & Py_TPFLAGS_MANAGED_DICT) == 0) {
        return nullptr;
    }
    // MANAGED_DICT_OFFSET of these versions. The low bit marks a pointer to values without a dict, on 3.12.
    PyObject* dict = reinterpret_cast<PyObject**>(object)[-3];
    return (reinterpret_cast<std::uintptr_t>(dict) & 1U) != 0 ? nullptr : dict;
#else
    return nullptr;
#endif
}

/// The attribute's value, or null when there is none. `__getattr__` of the class may run.
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

/// Whether it has a `_state`. Under the name of a `to_attr` there may be anything.
inline bool is_instance_of_model(PyObject* object) {
    return static_cast<bool>(optional_attribute(object, interned.state));
}

/// `state.fields_cache`, which Django's descriptor makes when it is not there. Always a dict.
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

/// `object._state` where the object's dict is at hand: half the instructions of looking it up through the class.
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
/// Most columns are read as attributes: their descriptor has no `__set__`, so that a loaded value is found in the instance
/// first and a deferred one is fetched by Django. Foreign key columns have a descriptor with `__set__`, written in Python
/// (149 ns per read); these, and keys that may be deferred, are taken from the instance's dict (53 ns).
struct column {
    object_ref name;
    bool in_dict = false;

    /// The value, or null when it is deferred (only with `in_dict`).
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
    /// The value, fetched by Django when it is deferred.
    [[nodiscard]] object_ref load(PyObject* object) const {
        object_ref value = read(object);
        return value ? std::move(value) : checked(PyObject_GetAttr(object, name.get()));
    }
};

} // namespace memoized_prefetch::binding
