#include "chunk.hpp"

#include "collector_pause.hpp"

#include <memoized_prefetch/passes/collection_pass.hpp>
#include <nanobind/stl/vector.h>

#include <memory>

namespace memoized_prefetch::binding {

namespace {

object_ref list_of_keys(const py_vector<py_key>& keys) {
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

    static constexpr bool exchanges_rows = true; // replace_row: by a thread, or by what comparing and attaching run
    [[nodiscard]] bool valid(const object_ref& row, const py_key& key) const { return m_memo.is_row(row.get(), key); }

private:
    const py_memo& m_memo;
    nb::handle m_fetch;
    bool m_fetched = false;
};

/// Link source of the passes: a Python callable `fetch(keys)` that gives (source, target), some at a time.
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

/// A pass that has attached its rows, kept until the chunk ends because it pins them.
class finished_pass {
public:
    finished_pass() = default;
    finished_pass(const finished_pass&) = delete;
    finished_pass& operator=(const finished_pass&) = delete;
    finished_pass(finished_pass&&) = delete;
    finished_pass& operator=(finished_pass&&) = delete;
    virtual ~finished_pass() = default;
    /// Ends the pins only.
    virtual void unpin() noexcept = 0;
    /// Ends the pins and counts what the tables evicted then.
    virtual void release() noexcept = 0;
};

class finished_to_one final : public finished_pass {
public:
    explicit finished_to_one(nb::handle memo) : m_memo(nb::borrow(memo)), pass(nb::cast<py_memo&>(memo).rows) {}
    ~finished_to_one() override = default;
    void unpin() noexcept override { pass.unpin(); }
    void release() noexcept override {
        const std::size_t evicted = pass.release();
        if (count != nullptr) {
            count->evicted += evicted;
        }
    }

private:
    nb::object m_memo; // outlives the pass

public:
    to_one_pass<memo_of_rows> pass;
    counters* count = nullptr;
    object_ref own_count;
};

class finished_to_many final : public finished_pass {
public:
    finished_to_many(nb::handle links, nb::handle memo)
        : m_links(nb::borrow(links)), m_memo(nb::borrow(memo)),
          pass(nb::cast<py_links&>(links).links, nb::cast<py_memo&>(memo).rows) {}
    ~finished_to_many() override = default;
    void unpin() noexcept override { pass.unpin(); }
    void release() noexcept override {
        const std::size_t rows = pass.release_rows();
        const std::size_t sources = pass.release_links();
        if (count != nullptr) {
            count->evicted += rows;
            link_count->evicted += sources;
        }
    }

private:
    nb::object m_links;
    nb::object m_memo;

public:
    to_many_pass<links_of_keys, memo_of_rows> pass;
    counters* count = nullptr;
    counters* link_count = nullptr;
    object_ref own_count;
    object_ref own_link_count;
};

/// What one call of process_chunk pins, over all its relations.
class chunk {
public:
    chunk() = default;
    chunk(const chunk&) = delete;
    chunk& operator=(const chunk&) = delete;
    chunk(chunk&&) = delete;
    chunk& operator=(chunk&&) = delete;
    ~chunk() { close(); }

    void to_one(nb::handle memo, nb::list levels, nb::handle fetch, nb::handle load_deferred, nb::dict lent);
    void to_many(nb::handle links, nb::handle memo, nb::handle objects, const to_many_relation& relation,
                 bool remembered, nb::handle fetch_links, nb::handle fetch_rows, nb::handle load_deferred);
    void collections(nb::handle objects, const to_many_relation& relation, bool remembered, nb::handle fetch_rows,
                     nb::handle load_deferred);

    /// Ends all pins: the bounds hold again. All of them before anything is evicted: what was used least recently goes, and
    /// not what the last pass used because the first one still pins its own. Each pass is taken out of the list before its
    /// rows are released, which may run any code.
    void close() noexcept {
        m_opened.reset();
        for (const std::unique_ptr<finished_pass>& pass : m_passes) {
            pass->unpin();
        }
        while (!m_passes.empty()) {
            const std::unique_ptr<finished_pass> pass = std::move(m_passes.back());
            m_passes.pop_back();
            pass->release();
        }
    }

private:
    template <class Pass, class Run>
    void run(std::unique_ptr<Pass> pass, Run&& run);
    opened_instances open(nb::handle objects);

    std::vector<std::unique_ptr<finished_pass>> m_passes;
    std::optional<opened_instances> m_opened; // until other code than the engine's runs
};

/// Runs a new pass. When it fails, what it added is taken back at once, and the bound is re-established only after the
/// passes that were completed have ended their pins: what is evicted then is what would have been without it.
template <class Pass, class Run>
void chunk::run(std::unique_ptr<Pass> pass, Run&& run) {
    m_passes.reserve(m_passes.size() + 1);
    try {
        run(*pass);
    } catch (...) {
        pass->pass.roll_back();
        m_passes.insert(m_passes.begin(), std::move(pass));
        throw;
    }
    m_passes.push_back(std::move(pass));
}

/// `levels`: [(instances, [ToOne, ...], remembered), ...], all leading to the memo's table.
void chunk::to_one(nb::handle memo, nb::list levels, nb::handle fetch, nb::handle load_deferred, nb::dict lent) {
    py_vector<to_one_instances> instances;
    py_vector<object_ref> own_relations;
    py_vector<const to_one_relation*> all_relations;
    python_rows source(nb::cast<py_memo&>(memo), fetch);
    instances.reserve(levels.size());
    const auto all_levels = nb::steal<nb::tuple>(checked(PyList_AsTuple(levels.ptr())).release());
    for (nb::handle level : all_levels) {
        py_vector<const to_one_relation*> relations;
        for (nb::handle relation : level[1]) {
            own_relations.push_back(object_ref::borrow(relation.ptr()));
            relations.push_back(&nb::cast<const to_one_relation&>(relation));
            all_relations.push_back(relations.back());
        }
        const bool remembered = nb::cast<bool>(level[2]);
        instances.emplace_back(open(level[0]), std::move(relations), nb::cast<py_memo&>(memo), remembered,
                               load_deferred, lent.ptr());
    }
    run(std::make_unique<finished_to_one>(memo), [&](finished_to_one& finished) {
        for (to_one_instances& level : instances) {
            finished.pass.collect(level);
        }
        finished.pass.resolve(source);
        for (std::size_t number = 0; number < instances.size(); ++number) {
            if (source.fetched()) {
                instances[number].close();
            }
            finished.pass.attach(number, instances[number]);
        }
        py_vector<counters> count(all_relations.size());
        // From here on nothing throws.
        finished.pass.commit(count);
        for (std::size_t number = 0; number < count.size(); ++number) {
            *all_relations[number]->count += count[number];
        }
        if (!all_relations.empty()) {
            finished.count = all_relations.front()->count;
            finished.own_count = all_relations.front()->own_count;
        }
    });
    m_opened.reset();
    if (!source.fetched() && !instances.empty()) {
        m_opened.emplace(instances.front().release());
    }
}

/// The instances, as the relation before has opened them if these are the same.
opened_instances chunk::open(nb::handle objects) {
    if (m_opened && m_opened->source.get() == objects.ptr()) {
        opened_instances same = std::move(*m_opened);
        m_opened.reset();
        return same;
    }
    return opened_instances(objects);
}

void chunk::to_many(nb::handle links, nb::handle memo, nb::handle objects, const to_many_relation& relation,
                    bool remembered, nb::handle fetch_links, nb::handle fetch_rows, nb::handle load_deferred) {
    m_opened.reset();
    to_many_instances instances(objects, relation, &nb::cast<py_links&>(links), &nb::cast<py_memo&>(memo), remembered,
                                load_deferred);
    python_links link_source(fetch_links);
    python_rows row_source(nb::cast<py_memo&>(memo), fetch_rows);
    run(std::make_unique<finished_to_many>(links, memo), [&](finished_to_many& finished) {
        finished.pass.collect(instances);
        finished.pass.resolve(link_source, row_source);
        {
            const collector_pause pause(!instances.attaching_runs_python());
            finished.pass.attach(instances);
        }
        // From here on nothing throws.
        finished.pass.commit(*relation.count, *relation.link_count);
        finished.count = relation.count;
        finished.link_count = relation.link_count;
        finished.own_count = relation.own_count;
        finished.own_link_count = relation.own_link_count;
    });
}

void chunk::collections(nb::handle objects, const to_many_relation& relation, bool remembered, nb::handle fetch_rows,
                        nb::handle load_deferred) {
    m_opened.reset();
    to_many_instances instances(objects, relation, nullptr, nullptr, remembered, load_deferred);
    python_referring_rows source(instances, fetch_rows);
    collection_pass<py_key, object_ref, py_key_traits, py_allocator<std::byte>> pass;
    pass.collect(instances);
    pass.resolve(source);
    {
        const collector_pause pause(!instances.attaching_runs_python());
        pass.attach(instances);
    }
    pass.commit(*relation.count);
}

/// Adds an object to the list unless it was seen before: the same object, never an equal one.
class distinct_objects {
public:
    void add(PyObject* object) {
        const auto known = m_seen.size();
        m_seen.add(reinterpret_cast<std::uintptr_t>(object));
        if (m_seen.size() != known) {
            checked(PyList_Append(m_list.get(), object));
        }
    }
    nb::object list() { return nb::steal(m_list.release()); }

private:
    key_set<std::uintptr_t, key_traits<std::uintptr_t>, py_allocator<std::byte>> m_seen;
    object_ref m_list = checked(PyList_New(0));
};

nb::object follow_to_one(nb::handle objects, nb::str cache_name) {
    const instance_list instances(objects);
    distinct_objects rows;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = fields_cache_of(instances[at]);
        PyObject* row = PyDict_GetItemWithError(cache.get(), cache_name.ptr());
        if (row == nullptr && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        if (row != nullptr && row != Py_None) {
            rows.add(row);
        }
    }
    return rows.list();
}

/// As Django goes on from objects through an attribute: a prefetched collection's rows, a list's members, or the object
/// that the attribute holds.
nb::object follow_attribute(nb::handle objects, nb::str name, nb::handle does_not_exist) {
    const instance_list instances(objects);
    distinct_objects rows;
    const auto add_all = [&](const object_ref& collection) {
        const object_ref members = checked(PySequence_Tuple(collection.get()));
        for (Py_ssize_t row = 0; row < PyTuple_GET_SIZE(members.get()); ++row) {
            rows.add(PyTuple_GET_ITEM(members.get(), row));
        }
    };
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = optional_attribute(instances[at], interned.prefetched_objects_cache);
        if (cache && PyDict_Check(cache.get()) != 0) {
            const object_ref prefetched = object_ref::borrow(PyDict_GetItemWithError(cache.get(), name.ptr()));
            if (prefetched) {
                add_all(prefetched);
                continue;
            }
            if (PyErr_Occurred() != nullptr) {
                throw_python_error();
            }
        }
        const object_ref row = object_ref::steal(PyObject_GetAttr(instances[at], name.ptr()));
        if (!row) {
            if (PyErr_ExceptionMatches(does_not_exist.ptr()) == 0) {
                throw_python_error();
            }
            PyErr_Clear();
        } else if (PyList_Check(row.get()) != 0) {
            add_all(row);
        } else if (row.get() != Py_None) {
            rows.add(row.get());
        }
    }
    return rows.list();
}

/// The objects that a lookup has nothing attached to yet; the sequence itself when that is all of them.
nb::object not_attached(nb::handle objects, nb::str name, int where) {
    const instance_list instances(objects);
    const own_attribute attribute{object_ref::borrow(name.ptr()), static_cast<place>(where)};
    object_ref fresh;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        bool attached = false;
        if (attribute.tells()) {
            attached = static_cast<bool>(attribute.attached(instances[at]));
        } else {
            const object_ref cache = attribute.asked == place::fields_cache
                                         ? fields_cache_of(instances[at])
                                         : optional_attribute(instances[at], interned.prefetched_objects_cache);
            attached =
                cache && PyDict_Check(cache.get()) != 0 && checked(PyDict_Contains(cache.get(), name.ptr())) != 0;
        }
        if (attached && !fresh) {
            fresh = checked(PyList_New(0));
            for (std::size_t before = 0; before < at; ++before) {
                checked(PyList_Append(fresh.get(), instances[before]));
            }
        } else if (!attached && fresh) {
            checked(PyList_Append(fresh.get(), instances[at]));
        }
    }
    return fresh ? nb::steal(fresh.release()) : nb::borrow(objects);
}

/// [(value, objects), ...] in first-seen order of what an attribute of the objects holds.
nb::list group_by_value(nb::handle objects, nb::str name) {
    const instance_list instances(objects);
    const object_ref groups = checked(PyDict_New());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref value = checked(PyObject_GetAttr(instances[at], name.ptr()));
        object_ref members = object_ref::borrow(PyDict_GetItemWithError(groups.get(), value.get()));
        if (!members) {
            if (PyErr_Occurred() != nullptr) {
                throw_python_error();
            }
            members = checked(PyList_New(0));
            checked(PyDict_SetItem(groups.get(), value.get(), members.get()));
        }
        checked(PyList_Append(members.get(), instances[at]));
    }
    return nb::steal<nb::list>(checked(PyDict_Items(groups.get())).release());
}

nb::object follow_to_many(nb::handle objects, nb::str cache_name) {
    const instance_list instances(objects);
    distinct_objects rows;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        const object_ref cache = optional_attribute(instances[at], interned.prefetched_objects_cache);
        if (!cache) {
            continue;
        }
        const object_ref queryset = object_ref::steal(PyObject_GetItem(cache.get(), cache_name.ptr()));
        if (!queryset) {
            if (PyErr_ExceptionMatches(PyExc_KeyError) == 0) {
                throw_python_error();
            }
            PyErr_Clear();
            continue;
        }
        const object_ref found = checked(PySequence_Tuple(queryset.get()));
        for (Py_ssize_t row = 0; row < PyTuple_GET_SIZE(found.get()); ++row) {
            rows.add(PyTuple_GET_ITEM(found.get(), row));
        }
    }
    return rows.list();
}

/// [(class, instances), ...] in first-seen order; the list itself when there is a single class.
nb::list group_by_class(nb::handle objects) {
    const instance_list instances(objects);
    nb::list groups;
    PyTypeObject* only = instances.size() == 0 ? nullptr : Py_TYPE(instances[0]);
    for (std::size_t at = 1; at < instances.size() && only != nullptr; ++at) {
        only = Py_TYPE(instances[at]) == only ? only : nullptr;
    }
    if (only != nullptr) {
        groups.append(nb::make_tuple(nb::borrow(reinterpret_cast<PyObject*>(only)), nb::borrow(objects)));
        return groups;
    }
    const object_ref by_class = checked(PyDict_New());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        auto* type = reinterpret_cast<PyObject*>(Py_TYPE(instances[at]));
        PyObject* group = PyDict_GetItemWithError(by_class.get(), type);
        if (group == nullptr) {
            const object_ref fresh = checked(PyList_New(0));
            checked(PyDict_SetItem(by_class.get(), type, fresh.get()));
            group = fresh.get();
            groups.append(nb::make_tuple(nb::borrow(type), nb::borrow(group)));
        }
        checked(PyList_Append(group, instances[at]));
    }
    return groups;
}

/// Whether an attribute of that name is in an instance's dict or nowhere, and reading or setting it runs no code of the class.
bool is_plain(PyTypeObject* type, PyObject* name) noexcept {
    return type->tp_getattro == PyObject_GenericGetAttr && type->tp_setattro == PyObject_GenericSetAttr &&
           _PyType_Lookup(type, name) == nullptr;
}

/// Gives a dict, or an instance of a plain class, its empty dict of prefetched collections unless it has one. False with the
/// error when it refuses it.
bool mark_plain(PyObject* object, PyObject* name, object_ref& spare) {
    if (!spare) {
        spare = checked(PyDict_New());
    }
    if (PyObject* dict = made_dict(object); dict != nullptr) { // one search instead of two, and none of the class
        PyObject* cache = PyDict_SetDefault(dict, name, spare.get());
        if (cache == nullptr) {
            return false;
        }
        if (cache == spare.get()) {
            spare = object_ref();
        }
        return true;
    }
    if (object_ref::steal(_PyObject_GenericGetAttrWithDict(object, name, nullptr, 1))) {
        return true;
    }
    if (PyErr_Occurred() != nullptr || PyObject_GenericSetAttr(object, name, spare.get()) < 0) {
        return false;
    }
    spare = object_ref();
    return true;
}

/// The same for any object, by whatever its class does.
bool mark_any(PyObject* object, PyObject* name) {
    if (optional_attribute(object, name)) {
        return true;
    }
    const object_ref cache = checked(PyDict_New());
    return PyObject_SetAttr(object, name, cache.get()) == 0;
}

/// As Django's prefetch_related_objects marks the objects of a level. Returns how many are marked: the first that refuses to
/// be ends it, and is no instance of a model.
///
/// Runs for every object of every chunk. An instance with a dict takes 340 instructions, 1,164 by Django; one without takes
/// 567 and 720, and still has none.
std::size_t mark_prefetched(nb::handle objects) {
    PyObject* name = interned.prefetched_objects_cache;
    const instance_list instances(objects);
    std::optional<collector_pause> pause(std::in_place);
    PyTypeObject* plain = nullptr;
    object_ref spare;
    for (std::size_t at = 0; at < instances.size(); ++at) {
        PyTypeObject* type = Py_TYPE(instances[at]);
        if (type != plain && is_plain(type, name)) {
            plain = type; // for as long as only plain ones come: no code runs that could change the class
        } else if (type != plain) {
            plain = nullptr;
            pause.reset();
        }
        if (!(type == plain ? mark_plain(instances[at], name, spare) : mark_any(instances[at], name))) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0 && PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
                throw_python_error();
            }
            PyErr_Clear();
            return at;
        }
    }
    return instances.size();
}

/// The first value of an attribute that the object before has too, None when there is none. `before` is that of the object
/// before the first. None is no value.
nb::object repeated_neighbour(nb::handle objects, nb::str name, nb::handle before) {
    const instance_list instances(objects);
    object_ref last = object_ref::borrow(before.ptr());
    for (std::size_t at = 0; at < instances.size(); ++at) {
        object_ref value = checked(PyObject_GetAttr(instances[at], name.ptr()));
        if (value.get() != Py_None && last.get() != Py_None &&
            checked(PyObject_RichCompareBool(last.get(), value.get(), Py_EQ)) != 0) {
            return nb::steal(value.release());
        }
        last = std::move(value);
    }
    return nb::none();
}

/// Takes reverse one-to-one caches out again that still hold the instance that was put in.
void detach_reverse(nb::dict lent) {
    for (nb::handle place : lent.keys()) {
        const nb::object one = lent[place];
        const object_ref cache = fields_cache_of(PyTuple_GET_ITEM(one.ptr(), 0));
        PyObject* name = PyTuple_GET_ITEM(place.ptr(), 1);
        PyObject* now = PyDict_GetItemWithError(cache.get(), name);
        if (now == PyTuple_GET_ITEM(one.ptr(), 1)) {
            checked(PyDict_DelItem(cache.get(), name));
        } else if (now == nullptr && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
    }
}

} // namespace

void bind_chunk(nb::module_& module) {
    nb::class_<chunk>(module, "Chunk", "What one chunk pins while it is processed; `close` ends it.")
        .def(nb::init<>())
        .def("to_one", &chunk::to_one, nb::arg("memo"), nb::arg("levels"), nb::arg("fetch"), nb::arg("load_deferred"),
             nb::arg("lent"),
             nb::sig("def to_one(self, memo: Memo, levels: list[tuple[Sequence[Any], list[ToOne], bool]], "
                     "fetch: Callable[[list[Any]], Iterable[Any]], load_deferred: Callable[[list[Any]], None], "
                     "lent: dict[tuple[int, str], tuple[Any, Any]]) -> None"),
             "Attaches the rows that keys of the instances name, with one call of `fetch` for those not in memory.")
        .def("to_many", &chunk::to_many, nb::arg("links"), nb::arg("memo"), nb::arg("objects"), nb::arg("relation"),
             nb::arg("remembered"), nb::arg("fetch_links"), nb::arg("fetch_rows"), nb::arg("load_deferred"),
             nb::sig("def to_many(self, links: Links, memo: Memo, objects: Sequence[Any], relation: ToMany, "
                     "remembered: bool, "
                     "fetch_links: Callable[[list[Any]], Iterable[Sequence[tuple[Any, Any]]]], "
                     "fetch_rows: Callable[[list[Any]], Iterable[Any]], load_deferred: Callable[[list[Any]], None]) -> "
                     "None"),
             "Attaches the rows that links lead to, with one call of `fetch_links` and one of `fetch_rows` at most.")
        .def("collections", &chunk::collections, nb::arg("objects"), nb::arg("relation"), nb::arg("remembered"),
             nb::arg("fetch_rows"), nb::arg("load_deferred"),
             nb::sig("def collections(self, objects: Sequence[Any], relation: ToMany, remembered: bool, "
                     "fetch_rows: Callable[[list[Any]], Iterable[Any]], load_deferred: Callable[[list[Any]], None]) -> "
                     "None"),
             "Attaches the rows that refer to the objects, with one call of `fetch_rows` at most.")
        .def("close", &chunk::close, "Ends the pins; the tables keep their bounds again.");
    module.def("follow_to_one", &follow_to_one, nb::arg("objects"), nb::arg("cache_name"),
               nb::sig("def follow_to_one(objects: Sequence[Any], cache_name: str) -> list[Any]"),
               "The distinct rows attached to the instances.");
    module.def("follow_attribute", &follow_attribute, nb::arg("objects"), nb::arg("name"), nb::arg("does_not_exist"),
               nb::sig("def follow_attribute(objects: Sequence[Any], name: str, does_not_exist: type) -> list[Any]"),
               "The distinct objects that an attribute of the instances holds, or a list in it.");
    module.def("not_attached", &not_attached, nb::arg("objects"), nb::arg("name"), nb::arg("where"),
               nb::sig("def not_attached(objects: Sequence[Any], name: str, where: int) -> Sequence[Any]"),
               "The objects without that name in `fields_cache` (where=0), the prefetched collections (1), as an "
               "attribute (2) or in their dict (3).");
    module.def("group_by_value", &group_by_value, nb::arg("objects"), nb::arg("name"),
               nb::sig("def group_by_value(objects: Sequence[Any], name: str) -> list[tuple[Any, list[Any]]]"),
               "The objects by the value of an attribute, in first-seen order.");
    module.def("follow_to_many", &follow_to_many, nb::arg("objects"), nb::arg("cache_name"),
               nb::sig("def follow_to_many(objects: Sequence[Any], cache_name: str) -> list[Any]"),
               "The distinct rows in the instances' prefetched collections.");
    module.def("group_by_class", &group_by_class, nb::arg("objects"),
               nb::sig("def group_by_class(objects: Sequence[Any]) -> list[tuple[type, Sequence[Any]]]"),
               "The instances of each class, in first-seen order.");
    module.def("mark_prefetched", &mark_prefetched, nb::arg("objects"),
               nb::sig("def mark_prefetched(objects: Sequence[Any]) -> int"),
               "Gives each object an empty dict of prefetched collections unless it has one; ends at the first that "
               "refuses it. Returns how many have one.");
    module.def("repeated_neighbour", &repeated_neighbour, nb::arg("objects"), nb::arg("name"),
               nb::arg("before").none() = nb::none(),
               nb::sig("def repeated_neighbour(objects: Sequence[Any], name: str, before: Any = None) -> Any"),
               "The first value of an attribute that is equal to that of the object before, or to `before` for the "
               "first; None: no two neighbours have the same.");
    module.def("detach_reverse", &detach_reverse, nb::arg("lent"),
               nb::sig("def detach_reverse(lent: dict[tuple[int, str], tuple[Any, Any]]) -> None"),
               "Removes reverse one-to-one caches that `to_one` set.");
}

} // namespace memoized_prefetch::binding
