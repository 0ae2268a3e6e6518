#include "relations.hpp"

namespace memoized_prefetch::binding {

namespace {

bool dict_contains(PyObject* dict, PyObject* name) { return checked(PyDict_Contains(dict, name)) != 0; }

/// A loaded key value as the engine takes it: only None is null.
key_reading<py_key> reading_of(object_ref value) {
    if (!value) {
        return {key_state::deferred, {}};
    }
    if (value.get() == Py_None) {
        return {key_state::null, {}};
    }
    return {key_state::present, py_key::of(std::move(value))};
}

void call_load_deferred(const object_ref& load_deferred, const instance_list& objects,
                        std::span<const std::size_t> deferred) {
    const object_ref list = checked(PyList_New(static_cast<Py_ssize_t>(deferred.size())));
    for (std::size_t at = 0; at < deferred.size(); ++at) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(at), object_ref::borrow(objects[deferred[at]]).release());
    }
    checked(PyObject_CallFunctionObjArgs(load_deferred.get(), list.get(), nullptr));
}

} // namespace

to_one_instances::to_one_instances(opened_instances objects, py_vector<const to_one_relation*> relations,
                                   const py_memo& memo, bool remembered, nb::handle load_deferred, PyObject* reverse)
    : m_opened(std::move(objects)), m_relations(std::move(relations)), m_memo(memo),
      m_load_deferred(object_ref::borrow(load_deferred.ptr())), m_reverse(reverse), m_remembered(remembered) {
    for (const to_one_relation* relation : m_relations) {
        m_any_native = m_any_native || !relation->loose;
    }
}

void to_one_instances::close() {
    m_opened.dicts.assign(size(), object_ref());
    m_opened.caches.assign(size(), object_ref());
}

void to_one_instances::read(std::size_t at, std::span<key_reading<py_key>> readings) {
    PyObject* object = m_opened.objects[at];
    if (at + 4 < size()) {
        __builtin_prefetch(m_opened.objects[at + 4]);
    }
    object_ref& cache = m_opened.caches[at];
    object_ref& dict = m_opened.dicts[at];
    if (m_any_native && !cache) {
        dict = checked(PyObject_GenericGetDict(object, nullptr));
        cache = fields_cache_of(object, dict.get());
    }
    const bool none_attached = m_any_native && PyDict_GET_SIZE(cache.get()) == 0;
    for (std::size_t number = 0; number < m_relations.size(); ++number) {
        const to_one_relation& relation = *m_relations[number];
        if (relation.loose) {
            readings[number] = reading_of(checked(PyObject_GetAttr(object, relation.key.name.get())));
        } else if (!none_attached && dict_contains(cache.get(), relation.attach_name.get()) &&
                   (!m_remembered || still_attached(relation, cache.get(), dict.get()))) {
            readings[number] = {key_state::attached, {}};
        } else {
            readings[number] = reading_of(relation.key.read_from(dict.get()));
        }
    }
}

bool to_one_instances::still_attached(const to_one_relation& relation, PyObject* cache, PyObject* dict) const {
    const object_ref row = object_ref::borrow(PyDict_GetItemWithError(cache, relation.attach_name.get()));
    const object_ref key = relation.key.read_from(dict);
    if (!row || row.get() == Py_None || !key || key.get() == Py_None) {
        return true;
    }
    return m_memo.is_row(row.get(), py_key::of(key));
}

void to_one_instances::load_deferred(std::span<const std::size_t> objects) const {
    call_load_deferred(m_load_deferred, m_opened.objects, objects);
}

void to_one_instances::attach(std::size_t at, std::span<const object_ref* const> rows) const {
    PyObject* object = m_opened.objects[at];
    object_ref cache = m_opened.caches[at];
    for (std::size_t number = 0; number < rows.size(); ++number) {
        if (rows[number] == nullptr) {
            continue;
        }
        const to_one_relation& relation = *m_relations[number];
        PyObject* row = *rows[number] ? rows[number]->get() : Py_None;
        if (relation.loose) {
            checked(PyObject_SetAttr(object, relation.attach_name.get(), row));
            continue;
        }
        if (!cache) {
            cache = fields_cache_of(object);
        }
        checked(PyDict_SetItem(cache.get(), relation.attach_name.get(), row));
        if (relation.reverse_name && row != Py_None) {
            attach_reverse(row, relation.reverse_name.get(), object);
        }
    }
}

void to_one_instances::attach_reverse(PyObject* row, PyObject* name, PyObject* object) const {
    if (m_reverse != nullptr) {
        const object_ref set = checked(PyTuple_Pack(3, row, name, object));
        checked(PyList_Append(m_reverse, set.get()));
    }
    const object_ref cache = fields_cache_of(row);
    checked(PyDict_SetItem(cache.get(), name, object));
}

to_many_instances::to_many_instances(nb::handle objects, const to_many_relation& relation, const py_links& links,
                                     const py_memo& memo, bool remembered, nb::handle load_deferred)
    : m_objects(objects), m_relation(relation), m_links(links), m_memo(memo),
      m_load_deferred(object_ref::borrow(load_deferred.ptr())), m_remembered(remembered) {}

void to_many_instances::read(std::size_t at, std::span<key_reading<py_key>> readings) const {
    PyObject* object = m_objects[at];
    const object_ref cache = optional_attribute(object, interned.prefetched_objects_cache);
    if (cache && PyDict_Check(cache.get())) {
        const object_ref attached =
            object_ref::borrow(PyDict_GetItemWithError(cache.get(), m_relation.attribute.get()));
        if (!attached && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        if (attached && (!m_remembered || still_attached(object, attached.get()))) {
            readings[0] = {key_state::attached, {}};
            return;
        }
    }
    readings[0] = reading_of(m_relation.key.read(object));
    if (readings[0].state == key_state::null) {
        checked(PyObject_CallFunctionObjArgs(m_relation.unsaved.get(), object, nullptr));
    }
}

/// Whether the attached rows still are those that the remembered links name, rows that are missing left out.
bool to_many_instances::still_attached(PyObject* object, PyObject* queryset) const {
    const object_ref key = m_relation.key.load(object);
    const slot_id slot = key.get() == Py_None ? no_slot : m_links.links.find(py_key::of(key));
    if (slot == no_slot) {
        return true; // nothing to compare with
    }
    py_vector<py_key> targets;
    targets.reserve(m_links.links.targets(slot).size());
    for (const py_key& target : m_links.links.targets(slot)) {
        targets.push_back(target);
    }
    const object_ref rows = checked(PySequence_Tuple(queryset));
    std::size_t next = 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at, ++next) {
        while (next < targets.size() && !m_memo.is_row(PyTuple_GET_ITEM(rows.get(), at), targets[next])) {
            ++next;
        }
        if (next == targets.size()) {
            return false;
        }
    }
    return true;
}

void to_many_instances::load_deferred(std::span<const std::size_t> objects) const {
    call_load_deferred(m_load_deferred, m_objects, objects);
}

void to_many_instances::attach(std::size_t at, std::span<const object_ref* const> rows) const {
    PyObject* object = m_objects[at];
    object_ref list = checked(PyList_New(static_cast<Py_ssize_t>(rows.size())));
    for (std::size_t number = 0; number < rows.size(); ++number) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(number), object_ref(*rows[number]).release());
    }
    const object_ref queryset =
        m_relation.queryset_class
            ? filled_queryset(object, list)
            : checked(PyObject_CallFunctionObjArgs(m_relation.fill.get(), object, list.get(), nullptr));
    object_ref cache = optional_attribute(object, interned.prefetched_objects_cache);
    if (!cache) {
        cache = checked(PyDict_New());
        checked(PyObject_SetAttr(object, interned.prefetched_objects_cache, cache.get()));
    }
    checked(PyObject_SetItem(cache.get(), m_relation.cache_name.get(), queryset.get()));
}

/// An instance of the relation's private queryset class, made without running any Python code. What it needs to become the
/// manager's own queryset: a weak reference to its source, and the source's key and database for when that is gone.
object_ref to_many_instances::filled_queryset(PyObject* object, const object_ref& rows) const {
    auto* type = reinterpret_cast<PyTypeObject*>(m_relation.queryset_class.get());
    // By object.__new__: on Python 3.11 and 3.12 tp_alloc alone leaves out the place for attributes, and each instance then
    // gets a dict of its own, 0.85 instead of 0.72 us for each.
    object_ref queryset = checked(PyBaseObject_Type.tp_new(type, interned.no_arguments, nullptr));
    const object_ref state = checked(PyObject_GetAttr(object, interned.state));
    const object_ref db = checked(PyObject_GetAttr(state.get(), interned.db));
    const object_ref key = m_relation.key.load(object);
    const object_ref weak = checked(PyWeakref_NewRef(object, nullptr));
    const object_ref source = checked(PyTuple_Pack(3, weak.get(), key.get(), db.get()));
    // Past the class's own __setattr__, which is for everyone else.
    checked(PyObject_GenericSetAttr(queryset.get(), interned.result_cache, rows.get()));
    checked(PyObject_GenericSetAttr(queryset.get(), interned.memo_source, source.get()));
    return queryset;
}

namespace {

object_ref from_nb(nb::handle object) { return object_ref::borrow(object.ptr()); }
object_ref optional_from_nb(nb::handle object) { return object.is_none() ? object_ref() : from_nb(object); }

void init_to_one(to_one_relation* self, nb::str key_name, nb::str attach_name, nb::object reverse_name, bool loose,
                 nb::handle count) {
    new (self) to_one_relation{.key = {from_nb(key_name), true},
                               .attach_name = from_nb(attach_name),
                               .reverse_name = optional_from_nb(reverse_name),
                               .loose = loose,
                               .count = &nb::cast<counters&>(count),
                               .own_count = from_nb(count)};
}

void init_to_many(to_many_relation* self, nb::str key_name, bool key_in_dict, nb::str attribute, nb::str cache_name,
                  nb::object queryset_class, nb::object fill, nb::object unsaved, nb::handle count,
                  nb::handle link_count) {
    new (self) to_many_relation{.key = {from_nb(key_name), key_in_dict},
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

/// What the relation calls back is what holds the relation: the garbage collector has to see that, and to end it.
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
             nb::arg("loose"), nb::arg("count"),
             nb::sig("def __init__(self, key_name: str, attach_name: str, reverse_name: str | None, loose: bool, "
                     "count: Counters) -> None"));
    nb::class_<to_many_relation>(module, "ToMany", nb::type_slots(to_many_slots),
                                 "A relation of one model class to many rows, through links.")
        .def("__init__", &init_to_many, nb::arg("key_name"), nb::arg("key_in_dict"), nb::arg("attribute"),
             nb::arg("cache_name"), nb::arg("queryset_class").none(), nb::arg("fill"), nb::arg("unsaved"),
             nb::arg("count"), nb::arg("link_count"),
             nb::sig("def __init__(self, key_name: str, key_in_dict: bool, attribute: str, cache_name: str, "
                     "queryset_class: type | None, fill: Callable[[Any, list[Any]], object], "
                     "unsaved: Callable[[Any], object], count: Counters, link_count: Counters) -> None"));
}

} // namespace memoized_prefetch::binding
