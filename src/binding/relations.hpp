/// What the Python layer found out about a relation of one model class, and the object models that the engine's passes use
/// to reach the relation on Python's model instances.
#pragma once

#include "tables.hpp"

#include <optional>

namespace memoized_prefetch::binding {

/// Where Django looks whether a relation was attached before.
enum class place : int { fields_cache, prefetched, attribute, dict };

/// Where what a lookup attaches goes when it names an attribute for it (`Prefetch(to_attr=)`).
struct own_attribute {
    object_ref name; // null: it goes where Django keeps the relation
    place asked = place::attribute;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(name); }
    /// Whether Django asks the attribute whether something was attached before.
    [[nodiscard]] bool tells() const noexcept { return name && asked >= place::attribute; }
    /// What was attached before, or null.
    [[nodiscard]] object_ref attached(PyObject* object) const;
};

/// A relation to one row: a foreign key, a one-to-one, a generic foreign key, or a loose key column.
struct to_one_relation {
    column key;
    object_ref attach_name;  // in `fields_cache`, or the attribute to set when `loose`
    object_ref reverse_name; // one-to-one: in the row's `fields_cache`; otherwise null
    bool loose = false;
    own_attribute to_attr;
    object_ref translated; // generic: a dict from the column's value to the row's key; others stand for no row
    bool exact = true;     // keys that the database finds equal are equal in Python too
    counters* count = nullptr;
    object_ref own_count;
};

/// A relation to many rows, through links or by a key that the rows hold; or to the one row that holds the key.
struct to_many_relation {
    column key;
    own_attribute to_attr;
    column join;               // of the rows: what refers to `key`; without a name the rows are reached through links
    object_ref translated;     // a dict from the join column's value to the key, or null
    object_ref parent_name;    // in the rows' `fields_cache`: the instance that they refer to; or null
    object_ref row_pk;         // None in a row means that it was deleted
    bool single = false;       // one row, in `fields_cache`
    object_ref attribute;      // as Django asks whether it was fetched before
    object_ref cache_name;     // in `_prefetched_objects_cache`
    object_ref queryset_class; // made cheaply filled, or null: then `fill` makes the queryset
    object_ref fill;           // callable(instance, rows) -> queryset
    object_ref unsaved;        // callable(instance): raises Django's error for an instance without a key
    counters* count = nullptr;
    counters* link_count = nullptr;
    object_ref own_count;
    object_ref own_link_count;
};

/// The instances of one level of a lookup: a snapshot, so that nobody else can change the list meanwhile.
class instance_list {
public:
    explicit instance_list(nb::handle objects) : m_objects(checked(PySequence_Tuple(objects.ptr()))) {}
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(PyTuple_GET_SIZE(m_objects.get()));
    }
    [[nodiscard]] PyObject* operator[](std::size_t at) const noexcept {
        return PyTuple_GET_ITEM(m_objects.get(), static_cast<Py_ssize_t>(at));
    }

private:
    object_ref m_objects;
};

/// Instances with what was looked up in each to reach its relations. Relations to several tables use it in turn, which
/// saves looking it up again: 1,310 instead of 1,572 instructions per object and key with two tables. Thrown away when a
/// query has run, since user code may have changed the instances then.
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
    /// `remembered`: the instances come from a memo, so what is attached to them may have been changed since.
    /// `lent`: a dict {(id(row), name): (row, instance)} of the reverse one-to-one caches that lead to a chunk's own instances;
    /// those of the instances are added unless they are remembered.
    to_one_instances(opened_instances objects, py_vector<const to_one_relation*> relations, const py_memo& memo,
                     bool remembered, nb::handle load_deferred, PyObject* lent);

    [[nodiscard]] std::size_t size() const noexcept { return m_opened.objects.size(); }
    [[nodiscard]] std::size_t width() const noexcept { return m_relations.size(); }
    [[nodiscard]] const py_vector<const to_one_relation*>& relations() const noexcept { return m_relations; }
    void read(std::size_t at, std::span<key_reading<py_key>> readings);
    void load_deferred(std::span<const std::size_t> objects) const;
    /// Called when user code may have changed the instances since they were read.
    void close();
    [[nodiscard]] opened_instances release() noexcept { return std::move(m_opened); }
    void attach(std::size_t at, std::span<const object_ref* const> rows) const;

private:
    static constexpr std::size_t opened_at_once = 32;
    void open(std::size_t begin);
    [[nodiscard]] bool still_attached(const to_one_relation& relation, const object_ref& row, PyObject* dict) const;
    void attach_reverse(PyObject* row, PyObject* name, PyObject* object) const;

    opened_instances m_opened;
    py_vector<const to_one_relation*> m_relations;
    const py_memo& m_memo;
    object_ref m_load_deferred;
    PyObject* m_lent;
    bool m_remembered;
    bool m_any_native = false;
};

/// Object model of `to_many_pass`: instances and one relation to many rows.
class to_many_instances {
public:
    /// `remembered`: as above.
    /// `links`, `memo`: null when the rows hold the key.
    to_many_instances(nb::handle objects, const to_many_relation& relation, const py_links* links, const py_memo* memo,
                      bool remembered, nb::handle load_deferred);

    [[nodiscard]] std::size_t size() const noexcept { return m_objects.size(); }
    void read(std::size_t at, std::span<key_reading<py_key>> readings) const;
    void load_deferred(std::span<const std::size_t> objects) const;
    void attach(std::size_t at, std::span<const object_ref* const> rows) const;
    /// `owner`: whether the rows get this instance as the one that they refer to.
    void attach(std::size_t at, std::span<const object_ref* const> rows, bool owner) const;
    [[nodiscard]] bool attaching_runs_python() const noexcept {
        return m_relation.to_attr || (!m_relation.queryset_class && !m_relation.single);
    }
    /// The key that a row refers to; none when it stands for none.
    [[nodiscard]] std::optional<py_key> key_of(PyObject* row) const;

private:
    [[nodiscard]] object_ref attached(PyObject* object) const;
    [[nodiscard]] bool still_attached(PyObject* object, const object_ref& attached) const;
    [[nodiscard]] bool links_name(const object_ref& rows, const py_key& key) const;
    [[nodiscard]] object_ref filled_queryset(PyObject* object, const object_ref& rows) const;
    void attach_parent(PyObject* row, PyObject* object) const;

    instance_list m_objects;
    const to_many_relation& m_relation;
    const py_links* m_links;
    const py_memo* m_memo;
    object_ref m_load_deferred;
    bool m_remembered;
};

void bind_relations(nb::module_& module);

} // namespace memoized_prefetch::binding
