/// row_relation: the related instance that select_related reads from the same row.
#pragma once

#include "called_model.hpp"

#include <optional>
#include <vector>

namespace memoized_prefetch::binding {

/// Stores one instance in another's cache: natively if Django would only write `_state.fields_cache`, otherwise by
/// calling Django's setter. Or does nothing.
class setter {
public:
    /// `what`: the name in `fields_cache`, or a callable(instance, value), or None.
    setter() = default;
    explicit setter(nb::handle what) {
        if (PyUnicode_Check(what.ptr()) != 0) {
            m_name = object_ref::borrow(what.ptr());
        } else if (!what.is_none()) {
            m_callable = object_ref::borrow(what.ptr());
        }
    }
    [[nodiscard]] bool runs_python() const noexcept { return static_cast<bool>(m_callable); }
    void operator()(PyObject* instance, PyObject* value) const {
        if (m_name) {
            checked(PyDict_SetItem(fields_cache_of(instance).get(), m_name.get(), value));
        } else if (m_callable) {
            checked(PyObject_CallFunctionObjArgs(m_callable.get(), instance, value, nullptr));
        }
    }

private:
    object_ref m_name;
    object_ref m_callable;
};

/// A related instance of the row, or none.
class row_relation {
public:
    /// `plan`: (plan of the model, position of the primary key, local setter, remote setter, plans below), or Django's own
    /// callable populate(row, instance).
    explicit row_relation(nb::handle plan) {
        if (PyTuple_Check(plan.ptr()) == 0) {
            m_populate = object_ref::borrow(plan.ptr());
            return;
        }
        m_model.emplace(nb::cast<nb::tuple>(plan[0]));
        m_pk_position = nb::cast<Py_ssize_t>(plan[1]);
        m_local = setter(nb::object(plan[2]));
        m_remote = setter(nb::object(plan[3]));
        for (nb::handle below : nb::object(plan[4])) {
            m_below.emplace_back(below);
        }
    }

    /// Whether code of a model, a receiver or a field may run for each row.
    [[nodiscard]] bool runs_user_code() const {
        bool any = m_populate || m_local.runs_python() || m_remote.runs_python() || m_model->runs_user_code();
        for (const row_relation& relation : m_below) {
            any = any || relation.runs_user_code();
        }
        return any;
    }
    void populate(row_values::row& row, PyObject* from, const result_context& context) {
        if (m_populate) {
            checked(PyObject_CallFunctionObjArgs(m_populate.get(), row.as_object().get(), from, nullptr));
            return;
        }
        if (row[m_pk_position] == Py_None) {
            m_local(from, Py_None);
            return;
        }
        const object_ref instance = m_model->build(row, context);
        track_peers(instance.get(), context, m_peers);
        for (row_relation& relation : m_below) {
            relation.populate(row, instance.get(), context);
        }
        m_local(from, instance.get());
        if (instance.get() != Py_None) { // a model's own from_db() may return it
            m_remote(instance.get(), from);
        }
    }

    static void track_peers(PyObject* instance, const result_context& context, object_ref& peers) {
        if (!context.track_peers) {
            return;
        }
        if (!peers) {
            peers = checked(PyList_New(0));
        }
        const object_ref weak = checked(PyWeakref_NewRef(instance, nullptr));
        checked(PyList_Append(peers.get(), weak.get()));
        const object_ref state = checked(PyObject_GetAttr(instance, interned.state));
        checked(PyObject_SetAttr(state.get(), in_state.peers, peers.get()));
    }

private:
    object_ref m_populate;
    std::optional<any_model> m_model;
    Py_ssize_t m_pk_position = 0;
    setter m_local;
    setter m_remote;
    std::vector<row_relation> m_below;
    object_ref m_peers;
};

} // namespace memoized_prefetch::binding
