/// own_attribute: the attribute that a lookup names for its result (`Prefetch(to_attr=)`), and where Django checks
/// whether the result is there.
#pragma once

#include "instances.hpp"

namespace memoized_prefetch::binding {

/// Where Django looks whether a relation was attached before.
enum class place : int { fields_cache, prefetched, attribute, dict };

/// The attribute that a lookup names for its result (`Prefetch(to_attr=)`), if it names one.
struct own_attribute {
    object_ref name; // null: the result goes where Django keeps the relation
    place asked = place::attribute;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(name); }
    /// Whether the attribute shows, for Django, that something was attached before.
    [[nodiscard]] bool tells() const noexcept { return name && asked >= place::attribute; }
    /// What was attached before, or null.
    [[nodiscard]] object_ref attached(PyObject* object) const {
        if (asked != place::dict) {
            return optional_attribute(object, name.get());
        }
        const object_ref dict = checked(PyObject_GenericGetDict(object, nullptr));
        PyObject* value = PyDict_GetItemWithError(dict.get(), name.get());
        if (value == nullptr && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        return object_ref::borrow(value);
    }
};

} // namespace memoized_prefetch::binding
