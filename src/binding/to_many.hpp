/// Relations to many rows: the record of one, as the Python layer makes it, and the object model by which the engine's
/// passes reach it on model instances.
#pragma once

#include "instance_list.hpp"
#include "own_attribute.hpp"
#include "tables.hpp"

#include <optional>

namespace memoized_prefetch::binding {

/// A relation to many rows, through links or by a key that the rows hold; or to the one row that holds the key.
struct to_many_relation {
    column key{};
    own_attribute to_attr{};
    column join{};               // of the rows: what refers to `key`; without a name the rows are reached through links
    object_ref translated{};     // a dict from the join column's value to the key, or null
    object_ref parent_name{};    // in the rows' `fields_cache`: the instance that they refer to; or null
    object_ref row_pk{};         // None in a row means that it was deleted
    bool single = false;         // one row, in `fields_cache`
    object_ref attribute{};      // as Django asks whether it was fetched before
    object_ref cache_name{};     // in `_prefetched_objects_cache`
    object_ref queryset_class{}; // made cheaply filled, or null: then `fill` makes the queryset
    object_ref fill{};           // callable(instance, rows) -> queryset
    bool keeps_source = false;   // a filled queryset refers to its object, which it otherwise refers to weakly
    object_ref unsaved{};        // callable(instance): raises Django's error for an instance without a key
    counters* count = nullptr;
    object_ref own_count{};
};

/// A many-to-many, reached through links.
struct many_to_many_spec : to_many_relation {
    counters* link_count = nullptr;
    object_ref own_link_count{};
};
/// Rows that refer to the object: by a foreign key, or a generic one.
struct reverse_many_spec : to_many_relation {};
/// The one row that refers to the object.
struct reverse_one_spec : to_many_relation {};

/// Object model of `to_many_pass`: instances and one relation to many rows.
class to_many_instances {
public:
    /// `remembered`: the instances come from a memo, so what is attached to them may have changed since.
    /// `links`, `memo`: null when the rows hold the key.
    to_many_instances(nb::handle objects, const to_many_relation& relation, const py_links* links, const py_memo* memo,
                      bool remembered);

    [[nodiscard]] std::size_t size() const noexcept { return m_objects.size(); }
    [[nodiscard]] const instance_list& objects() const noexcept { return m_objects; }
    void read(std::size_t at, std::span<key_reading<py_key>> readings) const;
    void attach(std::size_t at, std::span<const object_ref* const> rows) const;
    /// `owner`: whether the rows get this instance as the one that they refer to.
    void attach(std::size_t at, std::span<const object_ref* const> rows, bool owner) const;
    [[nodiscard]] bool attaching_runs_python() const noexcept {
        return m_relation.to_attr || (!m_relation.queryset_class && !m_relation.single);
    }
    /// The key that a row refers to, if it refers to one.
    [[nodiscard]] std::optional<py_key> key_of(const object_ref& row) const { return key_of(row.get()); }

private:
    [[nodiscard]] std::optional<py_key> key_of(PyObject* row) const;
    [[nodiscard]] object_ref attached(PyObject* object) const;
    [[nodiscard]] bool still_attached(PyObject* object, const object_ref& attached) const;
    [[nodiscard]] bool links_name(const object_ref& rows, const py_key& key) const;
    [[nodiscard]] object_ref filled_queryset(PyObject* object, const object_ref& rows) const;
    void attach_parent(PyObject* row, PyObject* object) const;

    instance_list m_objects;
    const to_many_relation& m_relation;
    const py_links* m_links;
    const py_memo* m_memo;
    bool m_remembered;
};

} // namespace memoized_prefetch::binding
