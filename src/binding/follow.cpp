#include "follow.hpp"

#include "instance_list.hpp"
#include "own_attribute.hpp"
#include "py_allocator.hpp"

#include <memoized_prefetch/tables/key_set.hpp>

#include <cstdint>

namespace memoized_prefetch::binding {

namespace {

/// A list that takes each object once, by identity, not equality.
class distinct_objects {
public:
    void add(PyObject* object) {
        const auto known = m_seen.size();
        m_seen.add(reinterpret_cast<std::uintptr_t>(object));
        if (m_seen.size() != known) {
            checked(PyList_Append(m_list.get(), object));
        }
    }
    nb::object list() { return nb::steal(m_list.release()); }

private:
    key_set<std::uintptr_t, key_traits<std::uintptr_t>, py_allocator<std::byte>> m_seen;
    object_ref m_list = checked(PyList_New(0));
};

nb::object follow_to_one(nb::handle objects, nb::str cache_name) {
    const instance_list instances(objects);
    distinct_objects rows;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = fields_cache_of(instances[at]);
        PyObject* row = PyDict_GetItemWithError(cache.get(), cache_name.ptr());
        if (row == nullptr && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        if (row != nullptr && row != Py_None) {
            rows.add(row);
        }
    }
    return rows.list();
}

/// Follows an attribute of the objects as Django does: to the rows of a prefetched collection, to the members of a
/// list, or to the object that the attribute holds.
nb::object follow_attribute(nb::handle objects, nb::str name, nb::handle does_not_exist) {
    const instance_list instances(objects);
    distinct_objects rows;
    const auto add_all = [&](const object_ref& collection) {
        const object_ref members = checked(PySequence_Tuple(collection.get()));
        for (Py_ssize_t row = 0; row < PyTuple_GET_SIZE(members.get()); ++row) {
            rows.add(PyTuple_GET_ITEM(members.get(), row));
        }
    };
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = optional_attribute(instances[at], interned.prefetched_objects_cache);
        if (cache && PyDict_Check(cache.get()) != 0) {
            const object_ref prefetched = object_ref::borrow(PyDict_GetItemWithError(cache.get(), name.ptr()));
            if (prefetched) {
                add_all(prefetched);
                continue;
            }
            if (PyErr_Occurred() != nullptr) {
                throw_python_error();
            }
        }
        const object_ref row = object_ref::steal(PyObject_GetAttr(instances[at], name.ptr()));
        if (!row) {
            if (PyErr_ExceptionMatches(does_not_exist.ptr()) == 0) {
                throw_python_error();
            }
            PyErr_Clear();
        } else if (PyList_Check(row.get()) != 0) {
            add_all(row);
        } else if (row.get() != Py_None) {
            rows.add(row.get());
        }
    }
    return rows.list();
}

nb::object follow_to_many(nb::handle objects, nb::str cache_name) {
    const instance_list instances(objects);
    distinct_objects rows;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = optional_attribute(instances[at], interned.prefetched_objects_cache);
        if (!cache) {
            continue;
        }
        const object_ref queryset = object_ref::steal(PyObject_GetItem(cache.get(), cache_name.ptr()));
        if (!queryset) {
            if (PyErr_ExceptionMatches(PyExc_KeyError) == 0) {
                throw_python_error();
            }
            PyErr_Clear();
            continue;
        }
        const object_ref found = checked(PySequence_Tuple(queryset.get()));
        for (Py_ssize_t row = 0; row < PyTuple_GET_SIZE(found.get()); ++row) {
            rows.add(PyTuple_GET_ITEM(found.get(), row));
        }
    }
    return rows.list();
}

/// The objects to which a lookup has attached nothing yet; the sequence itself if these are all.
nb::object not_attached(nb::handle objects, nb::str name, int where) {
    const instance_list instances(objects);
    const own_attribute attribute{object_ref::borrow(name.ptr()), static_cast<place>(where)};
    object_ref fresh;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        bool attached = false;
        if (attribute.tells()) {
            attached = static_cast<bool>(attribute.attached(instances[at]));
        } else {
            const object_ref cache = attribute.asked == place::fields_cache
                                         ? fields_cache_of(instances[at])
                                         : optional_attribute(instances[at], interned.prefetched_objects_cache);
            attached =
                cache && PyDict_Check(cache.get()) != 0 && checked(PyDict_Contains(cache.get(), name.ptr())) != 0;
        }
        if (attached && !fresh) {
            fresh = checked(PyList_New(0));
            for (std::size_t before = 0; before < at; ++before) {
                checked(PyList_Append(fresh.get(), instances[before]));
            }
        } else if (!attached && fresh) {
            checked(PyList_Append(fresh.get(), instances[at]));
        }
    }
    return fresh ? nb::steal(fresh.release()) : nb::borrow(objects);
}

/// [(value, objects), ...]: the objects by the value of an attribute, in first-seen order.
nb::list group_by_value(nb::handle objects, nb::str name) {
    const instance_list instances(objects);
    const object_ref groups = checked(PyDict_New());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref value = checked(PyObject_GetAttr(instances[at], name.ptr()));
        object_ref members = object_ref::borrow(PyDict_GetItemWithError(groups.get(), value.get()));
        if (!members) {
            if (PyErr_Occurred() != nullptr) {
                throw_python_error();
            }
            members = checked(PyList_New(0));
            checked(PyDict_SetItem(groups.get(), value.get(), members.get()));
        }
        checked(PyList_Append(members.get(), instances[at]));
    }
    return nb::steal<nb::list>(checked(PyDict_Items(groups.get())).release());
}

/// [(class, instances), ...] in first-seen order. If there is a single class, it comes with the sequence itself.
nb::list group_by_class(nb::handle objects) {
    const instance_list instances(objects);
    nb::list groups;
    PyTypeObject* only = instances.size() == 0 ? nullptr : Py_TYPE(instances[0]);
    for (std::size_t at = 1; at < instances.size() && only != nullptr; ++at) {
        only = Py_TYPE(instances[at]) == only ? only : nullptr;
    }
    if (only != nullptr) {
        groups.append(nb::make_tuple(nb::borrow(reinterpret_cast<PyObject*>(only)), nb::borrow(objects)));
        return groups;
    }
    const object_ref by_class = checked(PyDict_New());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        auto* type = reinterpret_cast<PyObject*>(Py_TYPE(instances[at]));
        PyObject* group = PyDict_GetItemWithError(by_class.get(), type);
        if (group == nullptr) {
            if (PyErr_Occurred() != nullptr) { // a metaclass may hash and compare its classes by code of its own
                throw_python_error();
            }
            const object_ref fresh = checked(PyList_New(0));
            checked(PyDict_SetItem(by_class.get(), type, fresh.get()));
            group = fresh.get();
            groups.append(nb::make_tuple(nb::borrow(type), nb::borrow(group)));
        }
        checked(PyList_Append(group, instances[at]));
    }
    return groups;
}

/// The first value of an attribute that equals the value of the object before, or None. `before` is the value before
/// that of the first object. None never counts as equal.
nb::object repeated_neighbour(nb::handle objects, nb::str name, nb::handle before) {
    const instance_list instances(objects);
    object_ref last = object_ref::borrow(before.ptr());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        object_ref value = checked(PyObject_GetAttr(instances[at], name.ptr()));
        if (value.get() != Py_None && last.get() != Py_None &&
            checked(PyObject_RichCompareBool(last.get(), value.get(), Py_EQ)) != 0) {
            return nb::steal(value.release());
        }
        last = std::move(value);
    }
    return nb::none();
}

} // namespace

void bind_follow(nb::module_& module) {
    module.def("follow_to_one", &follow_to_one, nb::arg("objects"), nb::arg("cache_name"),
               nb::sig("def follow_to_one(objects: Sequence[Any], cache_name: str) -> list[Any]"),
               "The distinct rows attached to the instances.");
    module.def("follow_attribute", &follow_attribute, nb::arg("objects"), nb::arg("name"), nb::arg("does_not_exist"),
               nb::sig("def follow_attribute(objects: Sequence[Any], name: str, does_not_exist: type) -> list[Any]"),
               "The distinct objects that an attribute of the instances holds, directly or in a list.");
    module.def("follow_to_many", &follow_to_many, nb::arg("objects"), nb::arg("cache_name"),
               nb::sig("def follow_to_many(objects: Sequence[Any], cache_name: str) -> list[Any]"),
               "The distinct rows in the instances' prefetched collections.");
    module.def("not_attached", &not_attached, nb::arg("objects"), nb::arg("name"), nb::arg("where"),
               nb::sig("def not_attached(objects: Sequence[Any], name: str, where: int) -> Sequence[Any]"),
               "The objects without that name in `fields_cache` (where=0), the prefetched collections (1), as an "
               "attribute (2) or in their dict (3).");
    module.def("group_by_value", &group_by_value, nb::arg("objects"), nb::arg("name"),
               nb::sig("def group_by_value(objects: Sequence[Any], name: str) -> list[tuple[Any, list[Any]]]"),
               "The objects by the value of an attribute, in first-seen order.");
    module.def("group_by_class", &group_by_class, nb::arg("objects"),
               nb::sig("def group_by_class(objects: Sequence[Any]) -> list[tuple[type, Sequence[Any]]]"),
               "The instances of each class, in first-seen order.");
    module.def("repeated_neighbour", &repeated_neighbour, nb::arg("objects"), nb::arg("name"),
               nb::arg("before").none() = nb::none(),
               nb::sig("def repeated_neighbour(objects: Sequence[Any], name: str, before: Any = None) -> Any"),
               "The first value of an attribute that equals that of the object before (for the first one: `before`); "
               "None if no two neighbours have the same value.");
}

} // namespace memoized_prefetch::binding
