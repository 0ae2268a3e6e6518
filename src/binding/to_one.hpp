/// Relations to one row: the record of one, as the Python layer makes it, and the object model by which the engine's pass
/// reaches it on model instances.
#pragma once

#include "instance_list.hpp"
#include "own_attribute.hpp"
#include "tables.hpp"

namespace memoized_prefetch::binding {

/// A relation to one row: a foreign key, a one-to-one, a generic foreign key, or a column that holds a key.
struct to_one_relation {
    column key{};
    object_ref attach_name{};  // in `fields_cache`, or the attribute to set when `key_only`
    object_ref reverse_name{}; // one-to-one: in the row's `fields_cache`; otherwise null
    bool key_only = false;
    own_attribute to_attr{};
    object_ref translated{}; // generic: a dict from the column's value to the row's key; others stand for no row
    bool exact = true;       // keys that the database finds equal are equal in Python too
    counters* count = nullptr;
    object_ref own_count{};
};

struct foreign_key_spec : to_one_relation {}; // or a one-to-one
struct key_only_spec : to_one_relation {};
struct generic_key_spec : to_one_relation {};

/// Instances, with the two dicts of each through which its relations are reached. Relations to several tables use them in
/// turn, which saves finding them again: 1,310 instead of 1,572 instructions per object and key with two tables. They are
/// dropped once a query has run, since user code may then have changed the instances.
struct opened_instances {
    explicit opened_instances(nb::handle list)
        : source(object_ref::borrow(list.ptr())), objects(list), dicts(objects.size()), caches(objects.size()) {}

    object_ref source; // the list that was given
    instance_list objects;
    py_vector<object_ref> dicts;  // `__dict__`, null before the first use
    py_vector<object_ref> caches; // `_state.fields_cache`
};

/// Object model of `to_one_pass`: instances and their relations to one table.
class to_one_instances {
public:
    /// `remembered`: the instances come from a memo, so what is attached to them may have changed since.
    /// `lent`: a dict {(id(row), name): (row, instance)} of the reverse one-to-one caches that lead to a chunk's own
    /// instances. Attaching adds to it, unless the instances are remembered.
    to_one_instances(opened_instances objects, py_vector<const to_one_relation*> relations, const py_memo& memo,
                     bool remembered, PyObject* lent);

    [[nodiscard]] std::size_t size() const noexcept { return m_opened.objects.size(); }
    [[nodiscard]] std::size_t width() const noexcept { return m_relations.size(); }
    [[nodiscard]] const instance_list& objects() const noexcept { return m_opened.objects; }
    void read(std::size_t at, std::span<key_reading<py_key>> readings);
    /// Called when user code may have changed the instances since they were read.
    void close();
    [[nodiscard]] opened_instances release() noexcept { return std::move(m_opened); }
    void attach(std::size_t at, std::span<const object_ref* const> rows) const;

private:
    static constexpr std::size_t opened_at_once = 32;
    void open(std::size_t begin);
    [[nodiscard]] bool still_attached(const to_one_relation& relation, const object_ref& row, PyObject* dict) const;
    void attach_reverse(PyObject* row, PyObject* name, PyObject* object) const;
    void lend_again(PyObject* row, PyObject* name, PyObject* object) const;

    opened_instances m_opened;
    py_vector<const to_one_relation*> m_relations;
    const py_memo& m_memo;
    PyObject* m_lent;
    bool m_remembered;
    bool m_any_native = false;
};

/// Empties the `lent` reverse one-to-one caches. A cache that holds another instance by now is left alone.
void detach_reverse(nb::dict lent);

} // namespace memoized_prefetch::binding
