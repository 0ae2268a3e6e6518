#include "relations.hpp"

#include <array>

namespace memoized_prefetch::binding {

namespace {

bool dict_contains(PyObject* dict, PyObject* name) { return checked(PyDict_Contains(dict, name)) != 0; }

object_ref attached_in(const object_ref& fields_cache, const to_one_relation& relation) {
    object_ref row = object_ref::borrow(PyDict_GetItemWithError(fields_cache.get(), relation.attach_name.get()));
    if (!row && PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return row;
}

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

/// The value as a key; through the dict that translates it, if there is one.
key_reading<py_key> reading_of(object_ref value, const object_ref& translated) {
    if (!translated || !value || value.get() == Py_None) {
        return reading_of(std::move(value));
    }
    object_ref key = object_ref::borrow(PyDict_GetItemWithError(translated.get(), value.get()));
    if (!key && PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return key ? reading_of(std::move(key)) : key_reading<py_key>{key_state::null, {}};
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

namespace {

/// Whether it has a `_state`. Under the name of a `to_attr` there may be anything.
bool is_instance_of_model(PyObject* object) { return static_cast<bool>(optional_attribute(object, interned.state)); }

/// A remembered row leads back to the remembered instance again when the chunk's own that stood there meanwhile is gone.
void keep_reverse(PyObject* row, PyObject* name, PyObject* object) {
    const object_ref cache = fields_cache_of(row);
    if (PyDict_SetDefault(cache.get(), name, object) == nullptr) {
        throw_python_error();
    }
}

} // namespace

object_ref own_attribute::attached(PyObject* object) const {
    if (asked != place::dict) {
        return optional_attribute(object, name.get());
    }
    const object_ref dict = checked(PyObject_GenericGetDict(object, nullptr));
    PyObject* value = PyDict_GetItemWithError(dict.get(), name.get());
    if (value == nullptr && PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return object_ref::borrow(value);
}

to_one_instances::to_one_instances(opened_instances objects, py_vector<const to_one_relation*> relations,
                                   const py_memo& memo, bool remembered, nb::handle load_deferred, PyObject* lent)
    : m_opened(std::move(objects)), m_relations(std::move(relations)), m_memo(memo),
      m_load_deferred(object_ref::borrow(load_deferred.ptr())), m_lent(lent), m_remembered(remembered) {
    for (const to_one_relation* relation : m_relations) {
        m_any_native = m_any_native || !relation->loose;
    }
}

void to_one_instances::close() {
    m_opened.dicts.assign(size(), object_ref());
    m_opened.caches.assign(size(), object_ref());
}

/// Opens several objects step by step, each step for all of them: it asks for the memory that the next step reads. Remembered
/// rows are in no cache, and an object's own steps wait for one another: 0.40 instead of 0.57 s for two relations of 400,000
/// rows, of 200,000 that are remembered.
void to_one_instances::open(std::size_t begin) {
    const std::size_t end = std::min(begin + opened_at_once, size());
    std::array<object_ref, opened_at_once> states;
    for (std::size_t at = begin; at < end; ++at) {
        prefetch_object(m_opened.objects[at]);
    }
    for (std::size_t at = begin; at < end; ++at) {
        prefetch_attributes(m_opened.objects[at]);
    }
    for (std::size_t at = begin; at < end; ++at) {
        m_opened.dicts[at] = checked(PyObject_GenericGetDict(m_opened.objects[at], nullptr));
        prefetch_items(m_opened.dicts[at].get());
    }
    for (std::size_t at = begin; at < end; ++at) {
        states[at - begin] = state_of(m_opened.objects[at], m_opened.dicts[at].get());
        prefetch_object(states[at - begin].get());
    }
    for (std::size_t at = begin; at < end; ++at) {
        prefetch_attributes(states[at - begin].get());
    }
    for (std::size_t at = begin; at < end; ++at) {
        m_opened.caches[at] = fields_cache_of_state(m_opened.objects[at], states[at - begin].get());
        prefetch_items(m_opened.caches[at].get());
    }
    if (!m_remembered) {
        return; // nothing has been attached as a rule
    }
    for (const to_one_relation* relation : m_relations) {
        if (relation->loose || relation->to_attr) {
            continue;
        }
        std::array<object_ref, opened_at_once> rows;
        for (std::size_t at = begin; at < end; ++at) {
            rows[at - begin] = attached_in(m_opened.caches[at], *relation);
            if (rows[at - begin]) {
                prefetch_object(rows[at - begin].get());
            }
        }
        for (const object_ref& row : rows) {
            if (row) {
                prefetch_attributes(row.get());
            }
        }
    }
}

void to_one_instances::read(std::size_t at, std::span<key_reading<py_key>> readings) {
    PyObject* object = m_opened.objects[at];
    if (m_any_native && !m_opened.caches[at]) {
        open(at);
    }
    const object_ref& cache = m_opened.caches[at];
    const object_ref& dict = m_opened.dicts[at];
    const bool none_attached = m_any_native && PyDict_GET_SIZE(cache.get()) == 0;
    for (std::size_t number = 0; number < m_relations.size(); ++number) {
        const to_one_relation& relation = *m_relations[number];
        if (relation.loose) {
            readings[number] = reading_of(checked(PyObject_GetAttr(object, relation.key.name.get())));
            continue;
        }
        object_ref attached;
        if (relation.to_attr.tells()) {
            attached = relation.to_attr.attached(object);
        } else if (!none_attached) {
            attached = attached_in(cache, relation);
        }
        if (attached && (!m_remembered || still_attached(relation, attached, dict.get()))) {
            readings[number] = {key_state::attached, {}};
            if (m_remembered && relation.reverse_name && is_instance_of_model(attached.get())) {
                keep_reverse(attached.get(), relation.reverse_name.get(), object);
            }
        } else {
            readings[number] = reading_of(relation.key.read_from(dict.get()), relation.translated);
        }
    }
}

bool to_one_instances::still_attached(const to_one_relation& relation, const object_ref& row, PyObject* dict) const {
    if (row.get() == Py_None || (relation.to_attr && !is_instance_of_model(row.get()))) {
        return true;
    }
    if (!relation.exact && !relation.to_attr) {
        return true; // select_related() attached a row whose key may look otherwise; a new key would have detached it
    }
    const key_reading<py_key> reading = reading_of(relation.key.read_from(dict), relation.translated);
    return reading.state != key_state::present || m_memo.is_row(row.get(), reading.key);
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
        if (relation.to_attr) {
            checked(PyObject_SetAttr(object, relation.to_attr.name.get(), row));
        } else {
            if (!cache) {
                cache = fields_cache_of(object);
            }
            checked(PyDict_SetItem(cache.get(), relation.attach_name.get(), row));
        }
        if (relation.reverse_name && row != Py_None) {
            attach_reverse(row, relation.reverse_name.get(), object);
        }
    }
}

/// A row leads back to the instance that was attached to last, as under Django, where each has a row of its own; but while
/// a chunk is the current one it leads to the chunk's own instance, whichever remembered one was attached to later.
void to_one_instances::attach_reverse(PyObject* row, PyObject* name, PyObject* object) const {
    const object_ref cache = fields_cache_of(row);
    const object_ref id = checked(PyLong_FromVoidPtr(row));
    const object_ref place = checked(PyTuple_Pack(2, id.get(), name));
    if (!m_remembered) {
        const object_ref lent = checked(PyTuple_Pack(2, row, object));
        checked(PyDict_SetItem(m_lent, place.get(), lent.get()));
    } else if (const object_ref lent = object_ref::borrow(PyDict_GetItemWithError(m_lent, place.get()))) {
        if (PyDict_GetItemWithError(cache.get(), name) == PyTuple_GET_ITEM(lent.get(), 1)) {
            return;
        }
    }
    if (PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    checked(PyDict_SetItem(cache.get(), name, object));
}

to_many_instances::to_many_instances(nb::handle objects, const to_many_relation& relation, const py_links* links,
                                     const py_memo* memo, bool remembered, nb::handle load_deferred)
    : m_objects(objects), m_relation(relation), m_links(links), m_memo(memo),
      m_load_deferred(object_ref::borrow(load_deferred.ptr())), m_remembered(remembered) {}

void to_many_instances::read(std::size_t at, std::span<key_reading<py_key>> readings) const {
    PyObject* object = m_objects[at];
    const object_ref before = attached(object);
    if (before && (!m_remembered || still_attached(object, before))) {
        readings[0] = {key_state::attached, {}};
        return;
    }
    readings[0] = reading_of(m_relation.key.read(object));
    if (readings[0].state == key_state::null) {
        checked(PyObject_CallFunctionObjArgs(m_relation.unsaved.get(), object, nullptr));
        if (m_relation.join.name) {
            readings[0].state = key_state::attached; // by Django
        }
    }
}

/// What was attached before, or null.
object_ref to_many_instances::attached(PyObject* object) const {
    if (m_relation.to_attr.tells()) {
        return m_relation.to_attr.attached(object);
    }
    const object_ref cache =
        m_relation.single ? fields_cache_of(object) : optional_attribute(object, interned.prefetched_objects_cache);
    if (!cache || PyDict_Check(cache.get()) == 0) {
        return {};
    }
    const object_ref& name = m_relation.single ? m_relation.cache_name : m_relation.attribute;
    object_ref found = object_ref::borrow(PyDict_GetItemWithError(cache.get(), name.get()));
    if (!found && PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    return found;
}

/// Whether the rows attached to a remembered instance still refer to it, or are those that its links name.
bool to_many_instances::still_attached(PyObject* object, const object_ref& attached) const {
    const object_ref value = m_relation.key.load(object);
    if (value.get() == Py_None || attached.get() == Py_None) {
        return true;
    }
    if (m_relation.to_attr &&
        !(m_relation.single ? is_instance_of_model(attached.get()) : PyList_Check(attached.get()) != 0)) {
        return true;
    }
    const py_key key = py_key::of(value);
    const object_ref rows =
        m_relation.single ? checked(PyTuple_Pack(1, attached.get())) : checked(PySequence_Tuple(attached.get()));
    if (m_links != nullptr) {
        return links_name(rows, key);
    }
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at) {
        PyObject* row = PyTuple_GET_ITEM(rows.get(), at);
        if (checked(PyObject_GetAttr(row, m_relation.row_pk.get())).get() == Py_None) {
            return false;
        }
        if (m_relation.translated) {
            continue; // what the values of earlier chunks stood for is not kept
        }
        const std::optional<py_key> refers_to = key_of(row);
        if (!refers_to || !py_key_traits::equal(key, *refers_to)) {
            return false;
        }
    }
    return true;
}

/// Whether these are the rows that the remembered links name, rows that are missing left out.
bool to_many_instances::links_name(const object_ref& rows, const py_key& key) const {
    const slot_id slot = m_links->links.find(key);
    if (slot == no_slot) {
        return true; // nothing to compare with
    }
    py_vector<py_key> targets;
    targets.reserve(m_links->links.targets(slot).size());
    for (const py_key& target : m_links->links.targets(slot)) {
        targets.push_back(target);
    }
    std::size_t next = 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows.get()); ++at, ++next) {
        while (next < targets.size() && !m_memo->is_row(PyTuple_GET_ITEM(rows.get(), at), targets[next])) {
            ++next;
        }
        if (next == targets.size()) {
            return false;
        }
    }
    return true;
}

std::optional<py_key> to_many_instances::key_of(PyObject* row) const {
    key_reading<py_key> reading = reading_of(m_relation.join.load(row), m_relation.translated);
    return reading.state == key_state::present ? std::optional<py_key>(std::move(reading.key)) : std::nullopt;
}

void to_many_instances::load_deferred(std::span<const std::size_t> objects) const {
    call_load_deferred(m_load_deferred, m_objects, objects);
}

void to_many_instances::attach(std::size_t at, std::span<const object_ref* const> rows) const {
    PyObject* object = m_objects[at];
    object_ref list;
    if (m_relation.single) {
        list = rows.empty() ? object_ref::borrow(Py_None) : *rows.back();
    } else {
        list = checked(PyList_New(static_cast<Py_ssize_t>(rows.size())));
        for (std::size_t number = 0; number < rows.size(); ++number) {
            PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(number), object_ref(*rows[number]).release());
        }
    }
    if (m_relation.to_attr) {
        checked(PyObject_SetAttr(object, m_relation.to_attr.name.get(), list.get()));
        return;
    }
    if (m_relation.single) {
        checked(PyDict_SetItem(fields_cache_of(object).get(), m_relation.cache_name.get(), list.get()));
        return;
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
    if (PyDict_CheckExact(cache.get()) != 0) {
        checked(PyDict_SetItem(cache.get(), m_relation.cache_name.get(), queryset.get()));
    } else {
        checked(PyObject_SetItem(cache.get(), m_relation.cache_name.get(), queryset.get()));
    }
}

void to_many_instances::attach(std::size_t at, std::span<const object_ref* const> rows, bool owner) const {
    if (owner && m_relation.parent_name) {
        for (const object_ref* row : rows) {
            attach_parent(row->get(), m_objects[at]);
        }
    }
    attach(at, rows);
}

/// A row of a one-to-one always gets its other side; a row of a foreign key unless it has it already.
void to_many_instances::attach_parent(PyObject* row, PyObject* object) const {
    const object_ref cache = fields_cache_of(row);
    if (m_relation.single || !dict_contains(cache.get(), m_relation.parent_name.get())) {
        checked(PyDict_SetItem(cache.get(), m_relation.parent_name.get(), object));
    }
}

/// An instance of the relation's private queryset class, made without running any Python code. What it needs to become the
/// manager's own queryset: a weak reference to its source, and the source's key and database for when that is gone.
object_ref to_many_instances::filled_queryset(PyObject* object, const object_ref& rows) const {
    auto* type = reinterpret_cast<PyTypeObject*>(m_relation.queryset_class.get());
    // By object.__new__: on Python 3.11 and 3.12 tp_alloc alone leaves out the place for attributes, and each instance then
    // gets a dict of its own, 0.85 instead of 0.72 us for each.
    object_ref queryset = checked(PyBaseObject_Type.tp_new(type, interned.no_arguments, nullptr));
    const object_ref state = checked(PyObject_GetAttr(object, interned.state));
    object_ref db = checked(PyObject_GetAttr(state.get(), interned.db));
    object_ref key = m_relation.key.load(object);
    object_ref weak = checked(PyWeakref_NewRef(object, nullptr));
    const object_ref source = checked(PyTuple_New(3));
    PyObject_GC_UnTrack(source.get()); // refers to nothing that could refer to it: the collector need not look at it
    PyTuple_SET_ITEM(source.get(), 0, weak.release());
    PyTuple_SET_ITEM(source.get(), 1, key.release());
    PyTuple_SET_ITEM(source.get(), 2, db.release());
    // Past the class's own __setattr__, which is for everyone else.
    checked(PyObject_GenericSetAttr(queryset.get(), interned.result_cache, rows.get()));
    checked(PyObject_GenericSetAttr(queryset.get(), interned.memo_source, source.get()));
    return queryset;
}

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
