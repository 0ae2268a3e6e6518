#include "passes.hpp"

namespace memoized_prefetch::binding {

void py_pass::expect(step before) {
    if (m_step != before) {
        PyErr_SetString(PyExc_RuntimeError, "the steps of a pass are collect, missing, admit if any are, and attach");
        throw_python_error();
    }
    m_step = step::running;
}

namespace {

template <class Pass>
nb::class_<Pass> bind_pass(nb::module_& module, const char* name, const char* doc) {
    return nb::class_<Pass>(module, name, doc)
        .def(
            "__enter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __enter__(self) -> Self"))
        .def(
            // Three arguments, and not any number: that takes no memory, so it cannot fail.
            "__exit__", [](Pass& self, nb::handle, nb::handle, nb::handle) { self.end(); }, nb::arg().none(),
            nb::arg().none(), nb::arg().none(),
            nb::sig("def __exit__(self, error_class: object, error: object, traceback: object, /) -> None"))
        .def("collect", &Pass::collect, nb::sig("def collect(self) -> list[Any]"),
             "Reads the keys of the instances. Returns those whose key has to be loaded.")
        .def("collect_loaded", &Pass::collect_loaded, "Reads these instances' keys, once they are loaded.")
        .def("missing", &Pass::missing, nb::sig("def missing(self) -> list[Any]"),
             "The keys whose rows have to be fetched.")
        .def("admit", &Pass::admit, nb::arg("rows"), nb::sig("def admit(self, rows: Iterable[Any]) -> None"),
             "Takes the rows that were fetched.")
        .def("attach", &Pass::attach, "Attaches the rows, and keeps them pinned until the chunk ends.");
}

} // namespace

void bind_passes(nb::module_& module) {
    bind_pass<py_to_one_pass>(module, "ToOnePass", "Attaches the rows that keys of the instances name.");
    bind_pass<py_to_many_pass>(module, "ToManyPass", "Attaches the rows that links lead to.")
        .def("missing_links", &py_to_many_pass::missing_links, nb::sig("def missing_links(self) -> list[Any]"),
             "The sources whose links have to be fetched.")
        .def("admit_links", &py_to_many_pass::admit_links, nb::arg("batches"),
             nb::sig("def admit_links(self, batches: Iterable[Sequence[tuple[Any, Any]]]) -> None"),
             "Takes the links that were fetched: some (source, target) at a time.");
    bind_pass<py_collection_pass>(module, "CollectionPass", "Attaches the rows that refer to the instances.");
}

} // namespace memoized_prefetch::binding
