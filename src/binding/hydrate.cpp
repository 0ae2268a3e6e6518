#include "hydrate.hpp"

#include "collector_pause.hpp"
#include "tables.hpp"

#include <vector>

namespace memoized_prefetch::binding {

namespace {

/// Names of ModelState's attributes that only hydration writes, `__set__` and `__sizeof__`, interned once per process.
struct state_names {
    PyObject* adding;
    PyObject* fetch_mode;
    PyObject* peers;
    PyObject* set;
    PyObject* size_of;
};
state_names in_state;

/// What all instances of one result have in common.
struct result_context {
    object_ref state_class;
    object_ref db;
    object_ref fetch_mode; // Django 6.1; null before
    bool track_peers = false;
};

/// One column of a row, and the attribute that it becomes.
struct row_field {
    Py_ssize_t position;
    object_ref name;
    bool
        foreign_key; // set through ForeignKeyDeferredAttribute, which asks `_state.fields_cache` when the value is not None
};

PyObject* value_at(PyObject* row, Py_ssize_t position) {
    const Py_ssize_t size = PyTuple_Check(row) ? PyTuple_GET_SIZE(row) : PyList_GET_SIZE(row);
    if (position >= size) {
        PyErr_Format(PyExc_IndexError, "a row has %zd columns, more than %zd were expected", size, position);
        throw_python_error();
    }
    return PyTuple_Check(row) ? PyTuple_GET_ITEM(row, position) : PyList_GET_ITEM(row, position);
}

/// The instances of one model class in a result.
class row_model {
public:
    row_model(nb::handle type, nb::handle fields) : m_type(object_ref::borrow(type.ptr())) {
        for (nb::handle field : fields) {
            object_ref name = object_ref::borrow(nb::object(field[1]).ptr());
            PyObject* interned_name = name.release();
            PyUnicode_InternInPlace(&interned_name);
            m_fields.push_back(
                {nb::cast<Py_ssize_t>(field[0]), object_ref::steal(interned_name), nb::cast<bool>(field[2])});
            m_any_foreign_key = m_any_foreign_key || m_fields.back().foreign_key;
        }
    }

    [[nodiscard]] object_ref build(PyObject* row, const result_context& context) {
        object_ref state = checked(new_object(context.state_class.get()));
        object_ref instance = copies_dict() ? with_copied_dict(row, state.get()) : with_attributes(row, state.get());
        finish_state(row, state.get(), context);
        return instance;
    }

private:
    [[nodiscard]] static PyObject* new_object(PyObject* type) {
        return PyBaseObject_Type.tp_new(reinterpret_cast<PyTypeObject*>(type), interned.no_arguments, nullptr);
    }

    /// Whether instances start from a copy of a prepared dict, which shares its keys with them. Wherever Django's own have a
    /// dict object: always before Python 3.11; then only with foreign keys, whose descriptor asks for it. On 3.12 building
    /// a row of six columns takes 0.7 us so, 4.9 us by Django; either way it takes 568 bytes with its values.
    [[nodiscard]] bool copies_dict() const noexcept {
#if PY_VERSION_HEX >= 0x030D0000
        return false;
#elif PY_VERSION_HEX >= 0x030B0000
        return m_any_foreign_key;
#else
        return true;
#endif
    }

    object_ref with_attributes(PyObject* row, PyObject* state) const {
        object_ref instance = checked(new_object(m_type.get()));
        checked(PyObject_GenericSetAttr(instance.get(), interned.state, state));
        if (m_any_foreign_key) {
            const object_ref dict = checked(PyObject_GenericGetDict(instance.get(), nullptr));
            set_items(dict.get(), row);
        } else {
            for (const row_field& field : m_fields) {
                checked(PyObject_GenericSetAttr(instance.get(), field.name.get(), value_at(row, field.position)));
            }
        }
        return instance;
    }

    void set_items(PyObject* dict, PyObject* row) const {
        for (const row_field& field : m_fields) {
            checked(PyDict_SetItem(dict, field.name.get(), value_at(row, field.position)));
        }
    }

    object_ref with_copied_dict(PyObject* row, PyObject* state) {
        if (!m_template) {
            m_template = new_template();
        }
        const object_ref dict = checked(PyDict_Copy(m_template.get()));
        checked(PyDict_SetItem(dict.get(), interned.state, state));
        set_items(dict.get(), row);
        auto* type = reinterpret_cast<PyTypeObject*>(m_type.get());
        // By tp_alloc, which on Python 3.11 and 3.12 leaves out the place for attributes that the dict replaces.
        object_ref instance = checked(type->tp_alloc(type, 0));
        checked(PyObject_GenericSetDict(instance.get(), dict.get(), nullptr));
        return instance;
    }

    /// The dict of an instance that has all attributes, None each: its keys are the class's shared ones where they fit.
    ///
    /// On Python 3.11 and 3.12 a class first leaves room for 30 attributes, 168 bytes more than six need, and takes one
    /// back with each instance that is made. Copies do not count as such: the room is taken back here.
    [[nodiscard]] object_ref new_template() const {
        object_ref dict = dict_of_new();
        for (Py_ssize_t before = 0, size = size_of(dict.get()); size != before;
             before = size, size = size_of(dict.get())) {
            dict = dict_of_new();
        }
        return dict;
    }

    [[nodiscard]] object_ref dict_of_new() const {
        const object_ref instance = checked(new_object(m_type.get()));
        checked(PyObject_GenericSetAttr(instance.get(), interned.state, Py_None));
        for (const row_field& field : m_fields) {
            checked(PyObject_GenericSetAttr(instance.get(), field.name.get(), Py_None));
        }
        return checked(PyObject_GenericGetDict(instance.get(), nullptr));
    }

    [[nodiscard]] static Py_ssize_t size_of(PyObject* dict) {
        const object_ref size = checked(PyObject_CallMethodNoArgs(dict, in_state.size_of));
        const Py_ssize_t bytes = PyLong_AsSsize_t(size.get());
        checked(bytes == -1 && PyErr_Occurred() != nullptr ? -1 : 0);
        return bytes;
    }

    /// `_state` as Model.__init__ and from_db leave it, in that order.
    void finish_state(PyObject* row, PyObject* state, const result_context& context) const {
        for (const row_field& field : m_fields) {
            if (field.foreign_key && differs_from_none(value_at(row, field.position))) {
                const object_ref cache = checked(PyDict_New());
                checked(PyObject_GenericSetAttr(state, interned.fields_cache, cache.get()));
                break;
            }
        }
        checked(PyObject_GenericSetAttr(state, in_state.adding, Py_False));
        checked(PyObject_GenericSetAttr(state, interned.db, context.db.get()));
        if (context.fetch_mode) {
            checked(PyObject_GenericSetAttr(state, in_state.fetch_mode, context.fetch_mode.get()));
        }
    }

    /// As `None != value`, which the descriptor of a foreign key asks: a user's own class may answer anything.
    [[nodiscard]] static bool differs_from_none(PyObject* value) {
        if (PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_HEAPTYPE) == 0) {
            return value != Py_None;
        }
        const object_ref own = object_ref::borrow(value); // it may take itself out of the row
        const object_ref differs = checked(PyObject_RichCompare(Py_None, value, Py_NE));
        const int is_true = PyObject_IsTrue(differs.get());
        checked(is_true);
        return is_true != 0;
    }

    object_ref m_type;
    std::vector<row_field> m_fields;
    object_ref m_template;
    bool m_any_foreign_key = false;
};

/// Stores one instance in another's cache: natively when Django would only write `_state.fields_cache`, by calling Django's
/// setter otherwise; or does nothing.
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

/// What select_related reads from the same row: an instance of its own, or none.
class row_relation {
public:
    /// `plan`: (class, fields, position of the primary key, local setter, remote setter, plans below), or Django's own
    /// callable populate(row, instance).
    explicit row_relation(nb::handle plan) {
        if (PyTuple_Check(plan.ptr()) == 0) {
            m_populate = object_ref::borrow(plan.ptr());
            return;
        }
        m_model.emplace(nb::object(plan[0]), nb::object(plan[1]));
        m_pk_position = nb::cast<Py_ssize_t>(plan[2]);
        m_local = setter(nb::object(plan[3]));
        m_remote = setter(nb::object(plan[4]));
        for (nb::handle below : nb::object(plan[5])) {
            m_below.emplace_back(below);
        }
    }

    [[nodiscard]] bool runs_python() const noexcept {
        bool any = m_populate || m_local.runs_python() || m_remote.runs_python();
        for (const row_relation& relation : m_below) {
            any = any || relation.runs_python();
        }
        return any;
    }
    void populate(PyObject* row, PyObject* from, const result_context& context) {
        if (m_populate) {
            checked(PyObject_CallFunctionObjArgs(m_populate.get(), row, from, nullptr));
            return;
        }
        if (value_at(row, m_pk_position) == Py_None) {
            m_local(from, Py_None);
            return;
        }
        const object_ref instance = m_model->build(row, context);
        track_peers(instance.get(), context, m_peers);
        for (row_relation& relation : m_below) {
            relation.populate(row, instance.get(), context);
        }
        m_local(from, instance.get());
        m_remote(instance.get(), from);
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
    std::optional<row_model> m_model;
    Py_ssize_t m_pk_position = 0;
    setter m_local;
    setter m_remote;
    std::vector<row_relation> m_below;
    object_ref m_peers;
};

struct converter {
    Py_ssize_t position = 0;
    object_ref expression;
    std::vector<object_ref> functions;
};

/// Builds the instances of one result.
class hydrator {
public:
    hydrator(nb::handle plan, nb::handle state_class, nb::handle db, nb::handle fetch_mode, bool track_peers,
             nb::handle converters, nb::handle connection, nb::handle annotations, nb::handle finish)
        : m_model(nb::object(plan[0]), nb::object(plan[1])), m_context{object_ref::borrow(state_class.ptr()),
                                                                       object_ref::borrow(db.ptr()),
                                                                       fetch_mode.is_none()
                                                                           ? object_ref()
                                                                           : object_ref::borrow(fetch_mode.ptr()),
                                                                       track_peers},
          m_connection(object_ref::borrow(connection.ptr())),
          m_finish(finish.is_none() ? object_ref() : object_ref::borrow(finish.ptr())) {
        for (nb::handle below : nb::object(plan[2])) {
            m_relations.emplace_back(below);
        }
        for (nb::handle one : converters) {
            converter& added = m_converters.emplace_back();
            added.position = nb::cast<Py_ssize_t>(one[0]);
            added.expression = object_ref::borrow(nb::object(one[2]).ptr());
            for (nb::handle function : nb::object(one[1])) {
                added.functions.push_back(object_ref::borrow(function.ptr()));
            }
        }
        for (nb::handle annotation : annotations) {
            m_annotations.push_back(
                {nb::cast<Py_ssize_t>(annotation[1]), object_ref::borrow(nb::object(annotation[0]).ptr()), false});
        }
    }

    /// The instances of these rows are appended to `into`: those before a row that fails as well.
    void build(nb::handle rows, nb::list into) {
        const object_ref iterator = checked(PyObject_GetIter(rows.ptr()));
        const collector_pause pause(!runs_python() && PyList_CheckExact(rows.ptr()));
        while (const object_ref row = object_ref::steal(PyIter_Next(iterator.get()))) {
            const object_ref instance = build_one(row.get());
            checked(PyList_Append(into.ptr(), instance.get()));
        }
        if (PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
    }

private:
    [[nodiscard]] bool runs_python() const noexcept {
        bool any = m_finish || !m_converters.empty() || !m_annotations.empty();
        for (const row_relation& relation : m_relations) {
            any = any || relation.runs_python();
        }
        return any;
    }

    object_ref build_one(PyObject* given) {
        object_ref row = object_ref::borrow(given);
        if (!m_converters.empty() || !(PyTuple_Check(given) || PyList_Check(given))) {
            row = checked(PySequence_List(given)); // as Django's converters make it
            convert(row.get());
        }
        object_ref instance = m_model.build(row.get(), m_context);
        row_relation::track_peers(instance.get(), m_context, m_peers);
        for (row_relation& relation : m_relations) {
            relation.populate(row.get(), instance.get(), m_context);
        }
        for (const row_field& annotation : m_annotations) {
            checked(PyObject_SetAttr(instance.get(), annotation.name.get(), value_at(row.get(), annotation.position)));
        }
        if (m_finish) {
            checked(PyObject_CallFunctionObjArgs(m_finish.get(), instance.get(), row.get(), nullptr));
        }
        return instance;
    }

    void convert(PyObject* row) const {
        for (const converter& one : m_converters) {
            object_ref value = object_ref::borrow(value_at(row, one.position));
            for (const object_ref& function : one.functions) {
                value = checked(PyObject_CallFunctionObjArgs(function.get(), value.get(), one.expression.get(),
                                                             m_connection.get(), nullptr));
            }
            checked(PyList_SetItem(row, one.position, value.release()));
        }
    }

    row_model m_model;
    result_context m_context;
    object_ref m_connection;
    object_ref m_finish;
    std::vector<row_relation> m_relations;
    std::vector<converter> m_converters;
    std::vector<row_field> m_annotations;
    object_ref m_peers;
};

/// A number that changes with every attribute of a class or its bases, or 0 when it has none at the moment. To be asked
/// for after a look-up, which gives the class a version if it has none.
unsigned int version_of(PyTypeObject* cls) noexcept {
#if PY_VERSION_HEX < 0x030D0000
    if (PyType_HasFeature(cls, Py_TPFLAGS_VALID_VERSION_TAG) == 0) {
        return 0;
    }
#endif
    return cls->tp_version_tag;
}

/// What a class says about its instances' attributes, cheap enough to ask for every result: its version, and for the
/// descriptor with each of these names its class, which may be exchanged without a trace in the former, and that one's
/// version. None when something has no version.
nb::object class_signature(nb::handle type, nb::handle names) {
    auto* cls = reinterpret_cast<PyTypeObject*>(type.ptr());
    nb::list signature;
    bool has_versions = true;
    for (nb::handle name : names) {
        if (PyObject* descriptor = _PyType_Lookup(cls, name.ptr()); descriptor != nullptr) {
            PyTypeObject* kind = Py_TYPE(descriptor);
            _PyType_Lookup(kind, in_state.set);
            const unsigned int version = version_of(kind);
            has_versions = has_versions && version != 0;
            signature.append(nb::borrow(reinterpret_cast<PyObject*>(kind)));
            signature.append(nb::int_(version));
        }
    }
    const unsigned int version = version_of(cls);
    signature.append(nb::int_(version));
    return has_versions && version != 0 ? nb::object(nb::tuple(signature)) : nb::none();
}

} // namespace

void bind_hydrate(nb::module_& module) {
    const auto intern = [](const char* name) { return checked(PyUnicode_InternFromString(name)).release(); };
    in_state = {intern("adding"), intern("fetch_mode"), intern("peers"), intern("__set__"), intern("__sizeof__")};
    nb::class_<hydrator>(module, "Hydrator", "Builds the model instances of one database result.")
        .def(nb::init<nb::handle, nb::handle, nb::handle, nb::handle, bool, nb::handle, nb::handle, nb::handle,
                      nb::handle>(),
             nb::arg("plan"), nb::arg("state_class"), nb::arg("db"), nb::arg("fetch_mode").none(),
             nb::arg("track_peers"), nb::arg("converters"), nb::arg("connection"), nb::arg("annotations"),
             nb::arg("finish").none(),
             nb::sig("def __init__(self, plan: tuple[Any, ...], state_class: type, db: str, fetch_mode: Any, "
                     "track_peers: bool, converters: Iterable[tuple[int, Iterable[Callable[..., Any]], Any]], "
                     "connection: Any, annotations: Iterable[tuple[str, int]], "
                     "finish: Callable[[Any, Any], None] | None) -> None"))
        .def("build", &hydrator::build, nb::arg("rows"), nb::arg("into"),
             nb::sig("def build(self, rows: Iterable[Any], into: list[Any]) -> None"),
             "Appends the rows' instances; those before a row that fails as well.");
    module.def("class_signature", &class_signature, nb::arg("cls"), nb::arg("names"),
               nb::sig("def class_signature(cls: type, names: Iterable[str]) -> tuple[Any, ...] | None"),
               "What may change in a class that instances are built of, equal as long as it does not; None: unknown.");
}

} // namespace memoized_prefetch::binding
