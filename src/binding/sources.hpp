/// The row and link sources of the engine's passes: Python callables that are called with a list of keys.
#pragma once

#include "tables.hpp"
#include "to_many.hpp"

#include <optional>

namespace memoized_prefetch::binding {

inline object_ref list_of_keys(const py_vector<py_key>& keys) {
    object_ref list = checked(PyList_New(static_cast<Py_ssize_t>(keys.size())));
    for (std::size_t at = 0; at < keys.size(); ++at) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(at), object_ref(keys[at].object).release());
    }
    return list;
}

/// Row source of the passes: a Python callable `fetch(keys) -> rows`, called once with all keys that are not in memory.
class python_rows {
public:
    python_rows(const py_memo& memo, nb::handle fetch) : m_memo(memo), m_fetch(fetch) {}

    template <class Take>
    void fetch(const py_vector<py_key>& asked, Take&& take) {
        m_fetched = true;
        const object_ref keys = list_of_keys(asked);
        const object_ref answer = checked(PyObject_CallFunctionObjArgs(m_fetch.ptr(), keys.get(), nullptr));
        const object_ref rows = checked(PySequence_Tuple(answer.get()));
        for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at) {
            take(object_ref::borrow(PyTuple_GET_ITEM(rows.get(), at)));
        }
    }

    [[nodiscard]] bool fetched() const noexcept { return m_fetched; }
    static void prefetch(const object_ref& row, const py_key& key, int step) noexcept {
        if (!row) {
            return;
        }
        if (step == 0) {
            prefetch_object(row.get());
            __builtin_prefetch(key.object.get(), 1); // as a rule the very object that the row has as its key
        } else {
            prefetch_attributes(row.get());
        }
    }

    [[nodiscard]] py_key key_of(const object_ref& row) const { return py_key::of(m_memo.key.load(row.get())); }

    /// Memo.replace_row may run in a thread, or while keys are compared or rows attached.
    static constexpr bool exchanges_rows = true;
    [[nodiscard]] bool valid(const object_ref& row, const py_key& key) const { return m_memo.is_row(row.get(), key); }

private:
    const py_memo& m_memo;
    nb::handle m_fetch;
    bool m_fetched = false;
};

/// Link source of the passes: a Python callable `fetch(keys)`, which gives batches of (source, target).
class python_links {
public:
    explicit python_links(nb::handle fetch) : m_fetch(fetch) {}

    template <class Take>
    void fetch(const py_vector<py_key>& asked, Take&& take) const {
        const object_ref keys = list_of_keys(asked);
        const object_ref answer = checked(PyObject_CallFunctionObjArgs(m_fetch.ptr(), keys.get(), nullptr));
        const object_ref batches = checked(PyObject_GetIter(answer.get()));
        while (const object_ref batch = object_ref::steal(PyIter_Next(batches.get()))) {
            const object_ref links = checked(PySequence_Fast(batch.get(), "links must come as sequences"));
            for (Py_ssize_t at = 0; at < PySequence_Fast_GET_SIZE(links.get()); ++at) {
                const object_ref pair = object_ref::borrow(PySequence_Fast_GET_ITEM(links.get(), at));
                if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
                    PyErr_Format(PyExc_TypeError, "a link must be a tuple (source, target), got %R", pair.get());
                    throw_python_error();
                }
                take(py_key::of(object_ref::borrow(PyTuple_GET_ITEM(pair.get(), 0))),
                     py_key::of(object_ref::borrow(PyTuple_GET_ITEM(pair.get(), 1))));
            }
        }
        if (PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
    }

private:
    nb::handle m_fetch;
};

/// Row source of the collection pass: a Python callable `fetch(keys) -> rows`.
class python_referring_rows {
public:
    python_referring_rows(const to_many_instances& instances, nb::handle fetch)
        : m_instances(instances), m_fetch(fetch) {}

    template <class Take>
    void fetch(const py_vector<py_key>& asked, Take&& take) const {
        const object_ref keys = list_of_keys(asked);
        const object_ref answer = checked(PyObject_CallFunctionObjArgs(m_fetch.ptr(), keys.get(), nullptr));
        const object_ref rows = checked(PySequence_Tuple(answer.get()));
        for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at) {
            take(object_ref::borrow(PyTuple_GET_ITEM(rows.get(), at)));
        }
    }
    [[nodiscard]] std::optional<py_key> key_of(const object_ref& row) const { return m_instances.key_of(row.get()); }

private:
    const to_many_instances& m_instances;
    nb::handle m_fetch;
};

} // namespace memoized_prefetch::binding
