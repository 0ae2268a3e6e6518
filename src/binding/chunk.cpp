#include "chunk.hpp"

#include "collector_pause.hpp"
#include "finished_pass.hpp"
#include "sources.hpp"
#include "to_many.hpp"
#include "to_one.hpp"

#include <memoized_prefetch/passes/collection_pass.hpp>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <vector>

namespace memoized_prefetch::binding {

namespace {

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

    /// Ends all pins, so that the bounds hold again. All pins end before anything is evicted. Otherwise the first pass would
    /// still pin its rows, and what the last one used would have to go instead of what was used least recently. Each pass
    /// leaves the list before its rows are released, as releasing them may run any code.
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

/// Runs a new pass. If it fails, what it added is taken out at once. But the failed pass is released last, after the
/// completed passes have ended their pins. So the same entries are evicted as if it had not run.
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

/// The instances. If the relation before had the same ones, they are those that it has opened.
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
    module.def("detach_reverse", &detach_reverse, nb::arg("lent"),
               nb::sig("def detach_reverse(lent: dict[tuple[int, str], tuple[Any, Any]]) -> None"),
               "Removes reverse one-to-one caches that `to_one` set.");
}

} // namespace memoized_prefetch::binding
