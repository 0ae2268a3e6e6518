#include "hydrator.hpp"

#include "row_relation.hpp"

#include <utility>
#include <vector>

namespace memoized_prefetch::binding {

namespace {

/// Builds the instances of one result.
class hydrator {
public:
    using row = row_values::row;

    hydrator(const nb::tuple& plan, nb::handle state_class, nb::handle db, nb::handle fetch_mode, bool track_peers,
             nb::handle converters, nb::handle connection, nb::handle annotations, nb::handle finish)
        : m_class(object_ref::borrow(nb::object(plan[2]).ptr())),
          m_model(nb::cast<nb::tuple>(plan[0])), m_context{object_ref::borrow(state_class.ptr()),
                                                           object_ref::borrow(db.ptr()),
                                                           fetch_mode.is_none() ? object_ref()
                                                                                : object_ref::borrow(fetch_mode.ptr()),
                                                           track_peers},
          m_values(converters, connection),
          m_finish(finish.is_none() ? object_ref() : object_ref::borrow(finish.ptr())) {
        for (nb::handle below : nb::object(plan[1])) {
            m_relations.emplace_back(below);
        }
        for (nb::handle annotation : annotations) {
            m_annotations.push_back(
                {nb::cast<Py_ssize_t>(annotation[1]), object_ref::borrow(nb::object(annotation[0]).ptr()), false});
        }
    }

    /// Appends the rows' instances to `into`. If a row fails, the instances before it are there.
    void build(nb::handle rows, nb::list into) {
        const object_ref iterator = checked(PyObject_GetIter(rows.ptr()));
        m_context.runs_user_code = runs_user_code();
        collector_pause pause(!m_context.runs_user_code && !m_finish && PyList_CheckExact(rows.ptr()));
        row values(m_values);
        while (const object_ref given = object_ref::steal(PyIter_Next(iterator.get()))) {
            checked(PyList_Append(into.ptr(), build_one(values, given.get(), pause).get()));
        }
        if (PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
    }

    /// Whether code of a model, a receiver or a field runs for each row. It may see what became of the row before.
    [[nodiscard]] bool runs_user_code() const {
        bool any = m_model.runs_user_code() || !m_values.is_known();
        for (const row_relation& relation : m_relations) {
            any = any || relation.runs_user_code();
        }
        for (const row_field& annotation : m_annotations) {
            any = any || has_setter(m_class.get(), annotation.name.get());
        }
        return any;
    }

    [[nodiscard]] object_ref build_next(row& values, PyObject* given) {
        m_context.runs_user_code = true;
        collector_pause none(false);
        return build_one(values, given, none);
    }

    [[nodiscard]] const row_values& values() const noexcept { return m_values; }

    /// For the garbage collector: of all references, only this one may lead to instances.
    int show_references(visitproc visit, void* arg) const {
        Py_VISIT(m_finish.get());
        return 0;
    }

private:
    /// In Django a generator builds the rows. So a StopIteration of the user's code must not end it as if there were no
    /// more rows.
    [[nodiscard]] object_ref build_one(row& values, PyObject* given, collector_pause& pause) {
        try {
            values.read(given, pause);
            return built(values);
        } catch (nb::python_error& error) {
            if (error.matches(PyExc_StopIteration)) {
                nb::raise_from(error, PyExc_RuntimeError, "generator raised StopIteration");
            }
            throw;
        }
    }

    [[nodiscard]] object_ref built(row& values) {
        object_ref instance = m_model.build(values, m_context);
        row_relation::track_peers(instance.get(), m_context, m_peers);
        for (row_relation& relation : m_relations) {
            relation.populate(values, instance.get(), m_context);
        }
        for (const row_field& annotation : m_annotations) {
            checked(PyObject_SetAttr(instance.get(), annotation.name.get(), values[annotation.position]));
        }
        if (m_finish) {
            checked(PyObject_CallOneArg(m_finish.get(), instance.get()));
        }
        return instance;
    }

    object_ref m_class;
    any_model m_model;
    result_context m_context;
    row_values m_values;
    object_ref m_finish;
    std::vector<row_relation> m_relations;
    std::vector<row_field> m_annotations;
    object_ref m_peers;
};

/// Builds one instance whenever it is asked for the next, as Django does.
class instance_iterator {
public:
    instance_iterator(nb::pointer_and_handle<hydrator> of, nb::handle rows)
        : m_owner(nb::borrow(of.h)), m_hydrator(of.p), m_rows(checked(PyObject_GetIter(rows.ptr()))),
          m_values(of.p->values()) {}

    nb::object next() {
        const object_ref given = object_ref::steal(PyIter_Next(m_rows.get()));
        if (!given) {
            if (PyErr_Occurred() != nullptr) {
                throw_python_error();
            }
            throw nb::stop_iteration();
        }
        return nb::steal(m_hydrator->build_next(m_values, given.get()).release());
    }

    int show_references(visitproc visit, void* arg) const {
        Py_VISIT(m_owner.ptr());
        Py_VISIT(m_rows.get());
        return 0;
    }

private:
    nb::object m_owner; // of the hydrator; first, so that it goes last
    hydrator* m_hydrator;
    object_ref m_rows;
    row_values::row m_values;
};

/// An object may keep an iterator of rows that lead back to it. The garbage collector has to see that cycle. It breaks it
/// elsewhere, in the generator or the callable of which every such cycle consists too.
template <class Type>
int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<Type>(self)->show_references(visit, arg) : 0;
}

template <class Type>
PyType_Slot* collected() {
    static PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse<Type>)}, {0, nullptr}};
    return slots;
}

} // namespace

void bind_hydrator(nb::module_& module) {
    const auto intern = [](const char* name) { return checked(PyUnicode_InternFromString(name)).release(); };
    in_state = {intern("adding"), intern("fetch_mode"), intern("peers"), intern("__sizeof__")};
    nb::class_<instance_iterator>(module, "InstanceIterator", nb::type_slots(collected<instance_iterator>()),
                                  "Builds one instance after another.")
        .def(
            "__iter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __iter__(self) -> Self"))
        .def("__next__", &instance_iterator::next, nb::sig("def __next__(self) -> Any"));
    nb::class_<hydrator>(module, "Hydrator", nb::type_slots(collected<hydrator>()),
                         "Builds the model instances of one database result.")
        .def(nb::init<nb::tuple, nb::handle, nb::handle, nb::handle, bool, nb::handle, nb::handle, nb::handle,
                      nb::handle>(),
             nb::arg("plan"), nb::arg("state_class"), nb::arg("db"), nb::arg("fetch_mode").none(),
             nb::arg("track_peers"), nb::arg("converters"), nb::arg("connection"), nb::arg("annotations"),
             nb::arg("finish").none(),
             nb::sig("def __init__(self, plan: tuple[Any, ...], state_class: type, db: str, fetch_mode: Any, "
                     "track_peers: bool, converters: Iterable[tuple[int, Any, Iterable[tuple[Callable[..., Any], "
                     "tuple[Any, ...] | None]]]], connection: Any, annotations: Iterable[tuple[str, int]], "
                     "finish: Callable[[Any], None] | None) -> None"))
        .def_prop_ro("runs_user_code", &hydrator::runs_user_code,
                     "Whether code of a model, a receiver or a field runs for each row.")
        .def("build", &hydrator::build, nb::arg("rows"), nb::arg("into"),
             nb::sig("def build(self, rows: Iterable[Any], into: list[Any]) -> None"),
             "Appends the rows' instances; if a row fails, the instances before it are there.")
        .def(
            "each",
            [](nb::pointer_and_handle<hydrator> self, nb::handle rows) { return instance_iterator(self, rows); },
            nb::arg("rows"), nb::sig("def each(self, rows: Iterable[Any]) -> InstanceIterator"),
            "Builds an instance whenever the next is asked for.");
}

} // namespace memoized_prefetch::binding
