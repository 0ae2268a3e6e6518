#include "hydrator.hpp"

#include "collector_pause.hpp"
#include "row_relation.hpp"

#include <vector>

namespace memoized_prefetch::binding {

namespace {

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

    /// Appends the rows' instances to `into`. If a row fails, the instances before it are there.
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
            row = checked(PySequence_List(given)); // a list, as Django's converters make it
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

} // namespace

void bind_hydrator(nb::module_& module) {
    const auto intern = [](const char* name) { return checked(PyUnicode_InternFromString(name)).release(); };
    in_state = {intern("adding"), intern("fetch_mode"), intern("peers"), intern("__sizeof__")};
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
             "Appends the rows' instances; if a row fails, the instances before it are there.");
}

} // namespace memoized_prefetch::binding
