#include "relation_specs.hpp"

#include "to_many.hpp"
#include "to_one.hpp"

#include <initializer_list>
#include <new>
#include <type_traits>
#include <utility>

namespace memoized_prefetch::binding {

namespace {

/// `to_attr`: (name, where Django asks whether it was attached before), or None.
own_attribute own_attribute_from(nb::handle to_attr) {
    if (to_attr.is_none()) {
        return {};
    }
    return {from_nb(to_attr[0]), static_cast<place>(nb::cast<int>(to_attr[1]))};
}

/// `key`: (name, whether it is read from the object's `__dict__`).
column column_from(nb::handle key) { return {from_nb(key[0]), nb::cast<bool>(key[1])}; }

/// Puts a finished record into a Python object. nanobind never destroys what an `__init__` that fails leaves behind, so
/// nothing may fail once the record is there.
template <class Spec>
void put(Spec* self, Spec whole) noexcept {
    static_assert(std::is_nothrow_move_constructible_v<Spec>);
    new (self) Spec(std::move(whole));
}

void set_count(auto& relation, nb::handle count) {
    relation.count = &nb::cast<counters&>(count);
    relation.own_count = from_nb(count);
}

void init_foreign_key(foreign_key_spec* self, nb::str key_name, nb::str cache_name, nb::object to_attr,
                      nb::handle count, nb::object reverse_name, bool exact) {
    foreign_key_spec relation{{.key = {from_nb(key_name), true},
                               .attach_name = from_nb(cache_name),
                               .reverse_name = optional_from_nb(reverse_name),
                               .to_attr = own_attribute_from(to_attr),
                               .exact = exact}};
    set_count(relation, count);
    put(self, std::move(relation));
}

void init_key_only(key_only_spec* self, nb::str key_name, nb::str name, nb::handle count) {
    key_only_spec relation{{.key = {from_nb(key_name), true}, .attach_name = from_nb(name), .key_only = true}};
    set_count(relation, count);
    put(self, std::move(relation));
}

void init_generic_key(generic_key_spec* self, nb::str key_name, nb::str cache_name, nb::object to_attr,
                      nb::handle count, nb::dict translated) {
    generic_key_spec relation{{.key = {from_nb(key_name), true},
                               .attach_name = from_nb(cache_name),
                               .to_attr = own_attribute_from(to_attr),
                               .translated = from_nb(translated)}};
    set_count(relation, count);
    put(self, std::move(relation));
}

/// `filling`: (name under which Django asks whether it was fetched, name in `_prefetched_objects_cache`, class of the
/// filled queryset or None, callable(instance, rows) -> queryset, whether a filled queryset keeps its object).
to_many_relation filled_relation(nb::handle key, nb::handle filling, nb::handle to_attr, nb::handle unsaved,
                                 nb::handle count) {
    to_many_relation relation{.key = column_from(key),
                              .to_attr = own_attribute_from(to_attr),
                              .attribute = from_nb(filling[0]),
                              .cache_name = from_nb(filling[1]),
                              .queryset_class = optional_from_nb(filling[2]),
                              .fill = from_nb(filling[3]),
                              .keeps_source = nb::cast<bool>(filling[4]),
                              .unsaved = from_nb(unsaved)};
    set_count(relation, count);
    return relation;
}

/// `rows`: (what refers to the object's key, primary key, name under which the object is attached to them or None, dict
/// from what refers to the key or None).
void set_rows(to_many_relation& relation, nb::handle rows) {
    relation.join = {from_nb(rows[0]), true};
    relation.row_pk = from_nb(rows[1]);
    relation.parent_name = optional_from_nb(rows[2]);
    relation.translated = optional_from_nb(rows[3]);
}

void init_many_to_many(many_to_many_spec* self, nb::tuple key, nb::tuple filling, nb::object to_attr,
                       nb::object unsaved, nb::handle count, nb::handle link_count) {
    put(self, many_to_many_spec{filled_relation(key, filling, to_attr, unsaved, count),
                                &nb::cast<counters&>(link_count), from_nb(link_count)});
}

void init_reverse_many(reverse_many_spec* self, nb::tuple key, nb::tuple filling, nb::object to_attr,
                       nb::object unsaved, nb::handle count, nb::tuple rows) {
    reverse_many_spec relation{filled_relation(key, filling, to_attr, unsaved, count)};
    set_rows(relation, rows);
    put(self, std::move(relation));
}

void init_reverse_one(reverse_one_spec* self, nb::tuple key, nb::str cache_name, nb::object to_attr, nb::object unsaved,
                      nb::handle count, nb::tuple rows) {
    reverse_one_spec relation{{.key = column_from(key),
                               .to_attr = own_attribute_from(to_attr),
                               .single = true,
                               .cache_name = from_nb(cache_name),
                               .unsaved = from_nb(unsaved)}};
    set_count(relation, count);
    set_rows(relation, rows);
    put(self, std::move(relation));
}

int visit_all(std::initializer_list<const object_ref*> objects, visitproc visit, void* arg) {
    for (const object_ref* object : objects) {
        Py_VISIT(object->get());
    }
    return 0;
}

/// The callables of a relation hold the relation themselves. The garbage collector has to see that cycle and break it.
template <class Spec>
int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) {
        return 0;
    }
    const to_many_relation& relation = *nb::inst_ptr<Spec>(self);
    return visit_all({&relation.queryset_class, &relation.fill, &relation.unsaved}, visit, arg);
}

template <class Spec>
int clear(PyObject* self) {
    if (!nb::inst_ready(self)) {
        return 0;
    }
    to_many_relation& relation = *nb::inst_ptr<Spec>(self);
    const object_ref queryset_class = std::move(relation.queryset_class);
    const object_ref fill = std::move(relation.fill);
    const object_ref unsaved = std::move(relation.unsaved);
    return 0;
}

template <class Spec>
PyType_Slot* collected() {
    static PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse<Spec>)},
                                  {Py_tp_clear, reinterpret_cast<void*>(clear<Spec>)},
                                  {0, nullptr}};
    return slots;
}

#define FILLING "filling: tuple[str, str, type | None, Callable[[Any, list[Any]], object], bool]"
#define ROWS "rows: tuple[str, str, str | None, dict[Any, Any] | None]"
#define TO_ATTR "to_attr: tuple[str, int] | None"
#define UNSAVED "unsaved: Callable[[Any], object]"

void bind_to_one(nb::module_& module) {
    // NOLINTNEXTLINE(bugprone-unused-raii): it registers the class
    nb::class_<to_one_relation>(module, "ToOneSpec", "A relation of one model class to one row.");
    nb::class_<foreign_key_spec, to_one_relation>(module, "ForeignKeySpec", "A foreign key or a one-to-one.")
        .def("__init__", &init_foreign_key, nb::arg("key_name"), nb::arg("cache_name"), nb::arg("to_attr").none(),
             nb::arg("count"), nb::arg("reverse_name").none(), nb::arg("exact"),
             nb::sig("def __init__(self, key_name: str, cache_name: str, " TO_ATTR ", count: Counters, "
                     "reverse_name: str | None, exact: bool) -> None"));
    nb::class_<key_only_spec, to_one_relation>(module, "KeyOnlySpec", "A column that holds a key, without a relation.")
        .def("__init__", &init_key_only, nb::arg("key_name"), nb::arg("name"), nb::arg("count"),
             nb::sig("def __init__(self, key_name: str, name: str, count: Counters) -> None"));
    nb::class_<generic_key_spec, to_one_relation>(module, "GenericKeySpec",
                                                  "A generic foreign key, as far as it leads to one model.")
        .def("__init__", &init_generic_key, nb::arg("key_name"), nb::arg("cache_name"), nb::arg("to_attr").none(),
             nb::arg("count"), nb::arg("translated"),
             nb::sig("def __init__(self, key_name: str, cache_name: str, " TO_ATTR ", count: Counters, "
                     "translated: dict[Any, Any]) -> None"));
}

void bind_to_many(nb::module_& module) {
    // NOLINTNEXTLINE(bugprone-unused-raii): the same
    nb::class_<to_many_relation>(module, "ToManySpec", nb::type_slots(collected<to_many_relation>()),
                                 "A relation of one model class to rows that its own key leads to.");
    nb::class_<many_to_many_spec, to_many_relation>(module, "ManyToManySpec",
                                                    nb::type_slots(collected<many_to_many_spec>()),
                                                    "Rows that are reached through links.")
        .def("__init__", &init_many_to_many, nb::arg("key"), nb::arg("filling"), nb::arg("to_attr").none(),
             nb::arg("unsaved"), nb::arg("count"), nb::arg("link_count"),
             nb::sig("def __init__(self, key: tuple[str, bool], " FILLING ", " TO_ATTR ", " UNSAVED
                     ", count: Counters, link_count: Counters) -> None"));
    nb::class_<reverse_many_spec, to_many_relation>(
        module, "ReverseManySpec", nb::type_slots(collected<reverse_many_spec>()), "Rows that refer to the object.")
        .def("__init__", &init_reverse_many, nb::arg("key"), nb::arg("filling"), nb::arg("to_attr").none(),
             nb::arg("unsaved"), nb::arg("count"), nb::arg("rows"),
             nb::sig("def __init__(self, key: tuple[str, bool], " FILLING ", " TO_ATTR ", " UNSAVED
                     ", count: Counters, " ROWS ") -> None"));
    nb::class_<reverse_one_spec, to_many_relation>(module, "ReverseOneSpec",
                                                   nb::type_slots(collected<reverse_one_spec>()),
                                                   "The one row that refers to the object.")
        .def("__init__", &init_reverse_one, nb::arg("key"), nb::arg("cache_name"), nb::arg("to_attr").none(),
             nb::arg("unsaved"), nb::arg("count"), nb::arg("rows"),
             nb::sig("def __init__(self, key: tuple[str, bool], cache_name: str, " TO_ATTR ", " UNSAVED
                     ", count: Counters, " ROWS ") -> None"));
}

#undef FILLING
#undef ROWS
#undef TO_ATTR
#undef UNSAVED

} // namespace

void bind_relations(nb::module_& module) {
    bind_to_one(module);
    bind_to_many(module);
}

} // namespace memoized_prefetch::binding
