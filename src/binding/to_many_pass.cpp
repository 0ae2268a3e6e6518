#include "collector_pause.hpp"
#include "key_values.hpp"
#include "passes.hpp"

namespace memoized_prefetch::binding {

class py_to_many_pass::pinning final : public open_pass {
public:
    pinning(nb::object links, nb::object memo)
        : m_links(std::move(links)), m_memo(std::move(memo)),
          pass(nb::cast<py_links&>(m_links).links, nb::cast<py_memo&>(m_memo).rows) {}

    void roll_back() noexcept override { pass.roll_back(); }
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
    nb::object m_links; // both outlive the pass
    nb::object m_memo;

public:
    to_many_pass<links_of_keys, memo_of_rows> pass;
    counters* count = nullptr;
    counters* link_count = nullptr;
    object_ref own_count;
    object_ref own_link_count;
};

py_to_many_pass::py_to_many_pass(const given_chunk& chunk, nb::object links, nb::object memo, nb::handle objects,
                                 nb::object relation, bool remembered)
    : py_pass(chunk), m_relation(std::move(relation)), m_source(nb::cast<py_memo&>(memo)) {
    of_chunk().forget_opened();
    m_objects.emplace(objects, nb::cast<const many_to_many_spec&>(m_relation), &nb::cast<py_links&>(links),
                      &nb::cast<py_memo&>(memo), remembered);
    m_pass = std::make_unique<pinning>(std::move(links), std::move(memo));
}

py_to_many_pass::~py_to_many_pass() { end(); }

nb::object py_to_many_pass::collect() {
    expect(step::begun);
    m_pass->pass.collect(*m_objects, &m_deferred);
    nb::list deferred;
    m_objects->objects().append_to(deferred, m_deferred);
    m_step = step::collected;
    return deferred;
}

void py_to_many_pass::collect_loaded() {
    expect(step::collected);
    m_pass->pass.collect_loaded(*m_objects, m_deferred);
    m_step = step::collected;
}

nb::object py_to_many_pass::missing_links() {
    expect(step::collected);
    const py_vector<py_key>& sources = m_pass->pass.missing_links();
    m_step = sources.empty() ? step::linked : step::links_missing;
    return list_of(sources);
}

void py_to_many_pass::admit_links(nb::handle batches) {
    expect(step::links_missing);
    const object_ref each = checked(PyObject_GetIter(batches.ptr()));
    while (const object_ref batch = object_ref::steal(PyIter_Next(each.get()))) {
        const object_ref links = checked(PySequence_Fast(batch.get(), "links must come as sequences"));
        for (Py_ssize_t at = 0; at < PySequence_Fast_GET_SIZE(links.get()); ++at) {
            const object_ref pair = object_ref::borrow(PySequence_Fast_GET_ITEM(links.get(), at));
            if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
                PyErr_Format(PyExc_TypeError, "a link must be a tuple (source, target), got %R", pair.get());
                throw_python_error();
            }
            m_pass->pass.take_link(py_key::of(object_ref::borrow(PyTuple_GET_ITEM(pair.get(), 0))),
                                   py_key::of(object_ref::borrow(PyTuple_GET_ITEM(pair.get(), 1))));
        }
    }
    if (PyErr_Occurred() != nullptr) {
        throw_python_error();
    }
    m_step = step::linked;
}

nb::object py_to_many_pass::missing() {
    expect(step::linked);
    const py_vector<py_key>& keys = m_pass->pass.missing(m_source);
    if (keys.empty()) {
        m_pass->pass.admit(m_source);
    }
    m_step = keys.empty() ? step::resolved : step::rows_missing;
    return list_of(keys);
}

void py_to_many_pass::admit(nb::handle rows) {
    expect(step::rows_missing);
    take_each(rows, [&](object_ref row) { m_pass->pass.take(m_source, std::move(row)); });
    m_pass->pass.admit(m_source);
    m_step = step::resolved;
}

void py_to_many_pass::attach() {
    expect(step::resolved);
    const auto& relation = nb::cast<const many_to_many_spec&>(m_relation);
    {
        const collector_pause pause(!m_objects->attaching_runs_python());
        m_pass->pass.attach(*m_objects);
    }
    // From here on nothing throws.
    m_pass->pass.commit(*relation.count, *relation.link_count);
    m_pass->count = relation.count;
    m_pass->link_count = relation.link_count;
    m_pass->own_count = relation.own_count;
    m_pass->own_link_count = relation.own_link_count;
    end_with(std::move(m_pass), true);
    end();
}

void py_to_many_pass::end() noexcept {
    end_with(std::move(m_pass), false);
    m_objects.reset();
}

py_collection_pass::py_collection_pass(const given_chunk& chunk, nb::handle objects, nb::object relation,
                                       bool remembered)
    : py_pass(chunk), m_relation(std::move(relation)) {
    of_chunk().forget_opened();
    m_objects.emplace(objects, nb::cast<const to_many_relation&>(m_relation), nullptr, nullptr, remembered);
    m_pass.emplace();
}

nb::object py_collection_pass::collect() {
    expect(step::begun);
    m_pass->collect(*m_objects, &m_deferred);
    nb::list deferred;
    m_objects->objects().append_to(deferred, m_deferred);
    m_step = step::collected;
    return deferred;
}

void py_collection_pass::collect_loaded() {
    expect(step::collected);
    m_pass->collect_loaded(*m_objects, m_deferred);
    m_step = step::collected;
}

nb::object py_collection_pass::missing() {
    expect(step::collected);
    const py_vector<py_key>& keys = m_pass->missing();
    m_step = keys.empty() ? step::resolved : step::rows_missing;
    return list_of(keys);
}

void py_collection_pass::admit(nb::handle rows) {
    expect(step::rows_missing);
    take_each(rows, [&](object_ref row) { m_pass->take(*m_objects, std::move(row)); });
    m_pass->admit();
    m_step = step::resolved;
}

void py_collection_pass::attach() {
    expect(step::resolved);
    {
        const collector_pause pause(!m_objects->attaching_runs_python());
        m_pass->attach(*m_objects);
    }
    m_pass->commit(*nb::cast<const to_many_relation&>(m_relation).count);
    end();
}

void py_collection_pass::end() noexcept {
    end_with(nullptr, false);
    m_pass.reset();
    m_objects.reset();
}

} // namespace memoized_prefetch::binding
