#include "relation_specs.hpp"

#include "to_many.hpp"
#include "to_one.hpp"

#include <initializer_list>

namespace memoized_prefetch::binding {

namespace {

object_ref from_nb(nb::handle object) { return object_ref::borrow(object.ptr()); }
object_ref optional_from_nb(nb::handle object) { return object.is_none() ? object_ref() : from_nb(object); }

own_attribute own_attribute_from(nb::handle name, int asked) {
    return {name.is_none() ? object_ref() : object_ref::borrow(name.ptr()), static_cast<place>(asked)};
}

void init_to_one(to_one_relation* self, nb::str key_name, nb::str attach_name, nb::object reverse_name, bool loose,
                 nb::handle count, nb::object to_attr, int asked, nb::object translated, bool exact) {
    new (self) to_one_relation{.key = {from_nb(key_name), true},
                               .attach_name = from_nb(attach_name),
                               .reverse_name = optional_from_nb(reverse_name),
                               .loose = loose,
                               .to_attr = own_attribute_from(to_attr, asked),
                               .translated = optional_from_nb(translated),
                               .exact = exact,
                               .count = &nb::cast<counters&>(count),
                               .own_count = from_nb(count)};
}

void init_to_many(to_many_relation* self, nb::str key_name, bool key_in_dict, nb::str attribute, nb::str cache_name,
                  nb::object queryset_class, nb::object fill, nb::object unsaved, nb::handle count,
                  nb::handle link_count, nb::object to_attr, int asked, nb::object join_name, nb::object translated,
                  nb::object parent_name, nb::object row_pk, bool single) {
    new (self) to_many_relation{.key = {from_nb(key_name), key_in_dict},
                                .to_attr = own_attribute_from(to_attr, asked),
                                .join = {optional_from_nb(join_name), true},
                                .translated = optional_from_nb(translated),
                                .parent_name = optional_from_nb(parent_name),
                                .row_pk = optional_from_nb(row_pk),
                                .single = single,
                                .attribute = from_nb(attribute),
                                .cache_name = from_nb(cache_name),
                                .queryset_class = optional_from_nb(queryset_class),
                                .fill = from_nb(fill),
                                .unsaved = from_nb(unsaved),
                                .count = &nb::cast<counters&>(count),
                                .link_count = &nb::cast<counters&>(link_count),
                                .own_count = from_nb(count),
                                .own_link_count = from_nb(link_count)};
}

int visit_all(std::initializer_list<const object_ref*> objects, visitproc visit, void* arg) {
    for (const object_ref* object : objects) {
        Py_VISIT(object->get());
    }
    return 0;
}

int traverse_to_many(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) {
        return 0;
    }
    const auto& relation = *nb::inst_ptr<to_many_relation>(self);
    return visit_all({&relation.queryset_class, &relation.fill, &relation.unsaved}, visit, arg);
}

/// The callables of a relation hold the relation themselves. The garbage collector has to see that cycle and break it.
int clear_to_many(PyObject* self) {
    auto& relation = *nb::inst_ptr<to_many_relation>(self);
    const object_ref queryset_class = std::move(relation.queryset_class);
    const object_ref fill = std::move(relation.fill);
    const object_ref unsaved = std::move(relation.unsaved);
    return 0;
}

PyType_Slot to_many_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_to_many)},
                               {Py_tp_clear, reinterpret_cast<void*>(clear_to_many)},
                               {0, nullptr}};

} // namespace

void bind_relations(nb::module_& module) {
    nb::class_<to_one_relation>(module, "ToOne", "A relation of one model class to one row.")
        .def("__init__", &init_to_one, nb::arg("key_name"), nb::arg("attach_name"), nb::arg("reverse_name").none(),
             nb::arg("loose"), nb::arg("count"), nb::arg("to_attr").none() = nb::none(), nb::arg("asked") = 2,
             nb::arg("translated").none() = nb::none(), nb::arg("exact") = true,
             nb::sig("def __init__(self, key_name: str, attach_name: str, reverse_name: str | None, loose: bool, "
                     "count: Counters, to_attr: str | None = None, asked: int = 2, "
                     "translated: dict[Any, Any] | None = None, exact: bool = True) -> None"));
    nb::class_<to_many_relation>(module, "ToMany", nb::type_slots(to_many_slots),
                                 "A relation of one model class to many rows, or to the one row that refers to it.")
        .def("__init__", &init_to_many, nb::arg("key_name"), nb::arg("key_in_dict"), nb::arg("attribute"),
             nb::arg("cache_name"), nb::arg("queryset_class").none(), nb::arg("fill"), nb::arg("unsaved"),
             nb::arg("count"), nb::arg("link_count"), nb::arg("to_attr").none() = nb::none(), nb::arg("asked") = 2,
             nb::arg("join_name").none() = nb::none(), nb::arg("translated").none() = nb::none(),
             nb::arg("parent_name").none() = nb::none(), nb::arg("row_pk").none() = nb::none(),
             nb::arg("single") = false,
             nb::sig("def __init__(self, key_name: str, key_in_dict: bool, attribute: str, cache_name: str, "
                     "queryset_class: type | None, fill: Callable[[Any, list[Any]], object], "
                     "unsaved: Callable[[Any], object], count: Counters, link_count: Counters, "
                     "to_attr: str | None = None, asked: int = 2, join_name: str | None = None, "
                     "translated: dict[Any, Any] | None = None, parent_name: str | None = None, "
                     "row_pk: str | None = None, single: bool = False) -> None"));
}

} // namespace memoized_prefetch::binding
