#include "chunk.hpp"

#include "passes.hpp"

#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <utility>

namespace memoized_prefetch::binding {

void py_chunk::close() noexcept {
    m_closed = true;
    m_opened.reset();
    m_passes.close();
}

void py_chunk::begin() {
    if (m_running) {
        PyErr_SetString(PyExc_RuntimeError, "another pass of this chunk has not ended");
        throw_python_error();
    }
    m_closed = false;
    m_passes.reserve_more(1);
    m_running = true;
}

void py_chunk::end(std::unique_ptr<open_pass> pass, bool committed) noexcept {
    m_running = false;
    if (pass == nullptr) {
        return;
    }
    if (committed) {
        m_passes.add(std::move(pass));
    } else {
        m_passes.add_failed(std::move(pass));
    }
    if (m_closed) {
        m_passes.close();
    }
}

opened_instances py_chunk::open(nb::handle objects) {
    if (m_opened && m_opened->source.get() == objects.ptr()) {
        opened_instances same = std::move(*m_opened);
        m_opened.reset();
        return same;
    }
    return opened_instances(objects);
}

void bind_chunk(nb::module_& module) {
    bind_passes(module);
    nb::class_<py_chunk>(module, "Chunk", "What one chunk pins while it is processed; `close` ends it.")
        .def(nb::init<>())
        .def(
            "to_one",
            [](const given_chunk& self, nb::object memo, nb::list levels, nb::dict lent) {
                return std::make_unique<py_to_one_pass>(self, std::move(memo), levels, lent);
            },
            nb::arg("memo"), nb::arg("levels"), nb::arg("lent"),
            nb::sig("def to_one(self, memo: Memo, levels: list[tuple[Sequence[Any], list[Any], bool]], "
                    "lent: dict[tuple[int, str], tuple[Any, Any]]) -> ToOnePass"),
            "Begins to attach the rows that keys of the instances name. `levels`: the instances, the specs of their "
            "relations to the memo, and whether the instances are remembered.")
        .def(
            "to_many",
            [](const given_chunk& self, nb::object links, nb::object memo, nb::handle objects, nb::object relation,
               bool remembered) {
                return std::make_unique<py_to_many_pass>(self, std::move(links), std::move(memo), objects,
                                                         std::move(relation), remembered);
            },
            nb::arg("links"), nb::arg("memo"), nb::arg("objects"), nb::arg("relation"), nb::arg("remembered"),
            nb::sig("def to_many(self, links: Links, memo: Memo, objects: Sequence[Any], relation: ManyToManySpec, "
                    "remembered: bool) -> ToManyPass"),
            "Begins to attach the rows that links lead to.")
        .def(
            "collection",
            [](const given_chunk& self, nb::handle objects, nb::object relation, bool remembered) {
                return std::make_unique<py_collection_pass>(self, objects, std::move(relation), remembered);
            },
            nb::arg("objects"), nb::arg("relation"), nb::arg("remembered"),
            nb::sig("def collection(self, objects: Sequence[Any], relation: ReverseManySpec | ReverseOneSpec, "
                    "remembered: bool) -> CollectionPass"),
            "Begins to attach the rows that refer to the objects.")
        .def("close", &py_chunk::close, "Ends the pins; the tables keep their bounds again.");
    module.def("detach_reverse", &detach_reverse, nb::arg("lent"),
               nb::sig("def detach_reverse(lent: dict[tuple[int, str], tuple[Any, Any]]) -> None"),
               "Removes reverse one-to-one caches that `to_one` set.");
}

} // namespace memoized_prefetch::binding
