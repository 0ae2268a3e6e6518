/// row_model: stores the rows of a database result in new instances of one model class.
#pragma once

#include "instances.hpp"
#include "receivers.hpp"
#include "row_values.hpp"

#include <vector>

namespace memoized_prefetch::binding {

/// Names of ModelState's attributes that only hydration writes, and `__sizeof__`, interned once per process.
struct state_names {
    PyObject* adding;
    PyObject* fetch_mode;
    PyObject* peers;
    PyObject* size_of;
};
inline state_names in_state{};

/// What all instances of one result have in common.
struct result_context {
    object_ref state_class;
    object_ref db;
    object_ref fetch_mode; // Django 6.1; null before
    bool track_peers = false;
    bool runs_user_code = false; // of models, their receivers and fields: each row is built when it is asked for
};

/// Whether setting an attribute of a class's instances runs a descriptor.
[[nodiscard]] inline bool has_setter(PyObject* type, PyObject* name) {
    PyObject* descriptor = _PyType_Lookup(reinterpret_cast<PyTypeObject*>(type), name);
    return descriptor != nullptr && Py_TYPE(descriptor)->tp_descr_set != nullptr;
}

/// One column of a row, and the attribute that it becomes.
struct row_field {
    Py_ssize_t position;
    object_ref name;
    /// Django sets it through ForeignKeyDeferredAttribute, which reads `_state.fields_cache` if the value is not None.
    bool foreign_key;
};

/// The instances of a model class whose own code does nothing when one is built.
class row_model {
public:
    using row = row_values::row;

    /// `plan`: ("stored", class, ((position, attribute, whether a foreign key), ...), receivers of post_init)
    explicit row_model(nb::handle plan)
        : m_type(object_ref::borrow(nb::object(plan[1]).ptr())), m_receivers(nb::object(plan[3])) {
        for (nb::handle field : nb::object(plan[2])) {
            object_ref name = object_ref::borrow(nb::object(field[1]).ptr());
            PyObject* interned_name = name.release();
            PyUnicode_InternInPlace(&interned_name);
            m_fields.push_back(
                {nb::cast<Py_ssize_t>(field[0]), object_ref::steal(interned_name), nb::cast<bool>(field[2])});
            m_in_dict = m_in_dict || has_setter(m_type.get(), interned_name);
        }
    }

    /// Whether receivers may run now, so that rows have to be built one by one.
    [[nodiscard]] bool runs_user_code() const { return m_receivers.may_be_any(); }

    [[nodiscard]] object_ref build(const row& values, const result_context& context) {
        object_ref state = checked(new_object(context.state_class.get()));
        object_ref instance =
            copies_dict() ? with_copied_dict(values, state.get()) : with_attributes(values, state.get());
        cache_fields(values, state.get());
        if (context.runs_user_code) {
            m_receivers.call(m_type.get(), instance.get());
            state = checked(PyObject_GetAttr(instance.get(), interned.state)); // a receiver may have replaced it
        }
        finish_state(state.get(), context);
        return instance;
    }

private:
    [[nodiscard]] static PyObject* new_object(PyObject* type) {
        return PyBaseObject_Type.tp_new(reinterpret_cast<PyTypeObject*>(type), interned.no_arguments, nullptr);
    }

    /// Whether instances start from a copy of a prepared dict, which shares its keys with them. They do if Django's own
    /// instances have a dict object. Before Python 3.11 all have one, later only those with foreign keys or files,
    /// whose descriptors ask for it. On 3.12 a row of six columns takes 0.7 us like this, and 4.9 us in Django. Either takes
    /// 568 bytes, including the values.
    [[nodiscard]] bool copies_dict() const noexcept {
#if PY_VERSION_HEX >= 0x030D0000
        return false;
#elif PY_VERSION_HEX >= 0x030B0000
        return m_in_dict;
#else
        return true;
#endif
    }

    object_ref with_attributes(const row& values, PyObject* state) const {
        object_ref instance = checked(new_object(m_type.get()));
        checked(PyObject_GenericSetAttr(instance.get(), interned.state, state));
        if (m_in_dict) {
            const object_ref dict = checked(PyObject_GenericGetDict(instance.get(), nullptr));
            set_items(dict.get(), values);
        } else {
            for (const row_field& field : m_fields) {
                checked(PyObject_GenericSetAttr(instance.get(), field.name.get(), values[field.position]));
            }
        }
        return instance;
    }

    void set_items(PyObject* dict, const row& values) const {
        for (const row_field& field : m_fields) {
            checked(PyDict_SetItem(dict, field.name.get(), values[field.position]));
        }
    }

    object_ref with_copied_dict(const row& values, PyObject* state) {
        if (!m_template) {
            m_template = new_template();
        }
        const object_ref dict = checked(PyDict_Copy(m_template.get()));
        checked(PyDict_SetItem(dict.get(), interned.state, state));
        set_items(dict.get(), values);
        auto* type = reinterpret_cast<PyTypeObject*>(m_type.get());
        // tp_alloc, because on Python 3.11 and 3.12 it omits the space for attributes, which the dict replaces.
        object_ref instance = checked(type->tp_alloc(type, 0));
        checked(PyObject_GenericSetDict(instance.get(), dict.get(), nullptr));
        return instance;
    }

    /// The dict of an instance that has all attributes, each None. It uses the class's shared keys if they fit.
    ///
    /// On Python 3.11 and 3.12 a class first reserves room for 30 attributes, 168 bytes more than six need, and reduces
    /// it by one with each new instance. Copies do not count as instances, so the room is reduced here.
    [[nodiscard]] object_ref new_template() const {
        object_ref dict = dict_of_new();
        for (Py_ssize_t before = 0, size = size_of(dict.get()); size != before;
             before = size, size = size_of(dict.get())) {
            dict = dict_of_new();
        }
        return dict;
    }

    [[nodiscard]] object_ref dict_of_new() const {
        const object_ref instance = checked(new_object(m_type.get()));
        checked(PyObject_GenericSetAttr(instance.get(), interned.state, Py_None));
        object_ref dict;
        for (const row_field& field : m_fields) {
            if (!has_setter(m_type.get(), field.name.get())) {
                checked(PyObject_GenericSetAttr(instance.get(), field.name.get(), Py_None));
                continue;
            }
            dict = checked(PyObject_GenericGetDict(instance.get(), nullptr)); // where its descriptor would store it
            checked(PyDict_SetItem(dict.get(), field.name.get(), Py_None));
        }
        return dict ? std::move(dict) : checked(PyObject_GenericGetDict(instance.get(), nullptr));
    }

    [[nodiscard]] static Py_ssize_t size_of(PyObject* dict) {
        const object_ref size = checked(PyObject_CallMethodNoArgs(dict, in_state.size_of));
        const Py_ssize_t bytes = PyLong_AsSsize_t(size.get());
        checked(bytes == -1 && PyErr_Occurred() != nullptr ? -1 : 0);
        return bytes;
    }

    /// Setting a foreign key makes `fields_cache`, if the key is not None.
    void cache_fields(const row& values, PyObject* state) const {
        for (const row_field& field : m_fields) {
            if (field.foreign_key && differs_from_none(values[field.position])) {
                const object_ref cache = checked(PyDict_New());
                checked(PyObject_GenericSetAttr(state, interned.fields_cache, cache.get()));
                break;
            }
        }
    }

    /// `from_db()` completes `_state` after the receivers of post_init have been called.
    static void finish_state(PyObject* state, const result_context& context) {
        const auto set = context.runs_user_code ? PyObject_SetAttr : PyObject_GenericSetAttr;
        checked(set(state, in_state.adding, Py_False));
        checked(set(state, interned.db, context.db.get()));
        if (context.fetch_mode) {
            checked(set(state, in_state.fetch_mode, context.fetch_mode.get()));
        }
    }

    /// `None != value`, as the descriptor of a foreign key evaluates it. A user's own class may answer anything.
    [[nodiscard]] static bool differs_from_none(PyObject* value) {
        if (PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_HEAPTYPE) == 0 || Py_TYPE(value) == uuids.type) {
            return value != Py_None;
        }
        const object_ref own = object_ref::borrow(value); // its comparison may remove it from the row
        const object_ref differs = checked(PyObject_RichCompare(Py_None, value, Py_NE));
        const int is_true = PyObject_IsTrue(differs.get());
        checked(is_true);
        return is_true != 0;
    }

    object_ref m_type;
    std::vector<row_field> m_fields;
    receivers m_receivers;
    object_ref m_template;
    bool m_in_dict = false; // a descriptor of a column stores its value in the dict, and does nothing else
};

} // namespace memoized_prefetch::binding
