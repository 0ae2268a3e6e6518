#include "key_values.hpp"
#include "passes.hpp"

namespace memoized_prefetch::binding {

class py_to_one_pass::pinning final : public open_pass {
public:
    explicit pinning(nb::object memo) : m_memo(std::move(memo)), pass(nb::cast<py_memo&>(m_memo).rows) {}

    void roll_back() noexcept override { pass.roll_back(); }
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

py_to_one_pass::py_to_one_pass(const given_chunk& chunk, nb::object memo, nb::list levels, nb::dict lent)
    : py_pass(chunk), m_lent(std::move(lent)), m_source(nb::cast<py_memo&>(memo)) {
    const py_memo& table = nb::cast<py_memo&>(memo);
    const auto all_levels = nb::steal<nb::tuple>(checked(PyList_AsTuple(levels.ptr())).release());
    m_levels.reserve(all_levels.size());
    for (nb::handle one : all_levels) {
        py_vector<const to_one_relation*> relations;
        for (nb::handle relation : one[1]) {
            m_own_relations.push_back(object_ref::borrow(relation.ptr()));
            relations.push_back(&nb::cast<const to_one_relation&>(relation));
            m_relations.push_back(relations.back());
        }
        if (relations.empty()) {
            throw nb::value_error("expected at least one relation for each level");
        }
        const bool remembered = nb::cast<bool>(one[2]);
        m_levels.push_back(
            {to_one_instances(of_chunk().open(one[0]), std::move(relations), table, remembered, m_lent.ptr()), {}});
    }
    if (m_levels.empty()) {
        throw nb::value_error("expected at least one level");
    }
    of_chunk().forget_opened();
    m_pass = std::make_unique<pinning>(std::move(memo));
}

py_to_one_pass::~py_to_one_pass() { end(); }

nb::object py_to_one_pass::collect() {
    expect(step::begun);
    nb::list deferred;
    for (level& one : m_levels) {
        m_pass->pass.collect(one.instances, &one.deferred);
        one.instances.objects().append_to(deferred, one.deferred);
    }
    m_step = step::collected;
    return deferred;
}

void py_to_one_pass::collect_loaded() {
    expect(step::collected);
    for (std::size_t number = 0; number < m_levels.size(); ++number) {
        m_levels[number].instances.close();
        m_pass->pass.collect_loaded(number, m_levels[number].instances, m_levels[number].deferred);
    }
    m_step = step::collected;
}

nb::object py_to_one_pass::missing() {
    expect(step::collected);
    const py_vector<py_key>& keys = m_pass->pass.missing(m_source);
    m_fetched = !keys.empty();
    if (!m_fetched) {
        m_pass->pass.admit(m_source);
    }
    m_step = m_fetched ? step::rows_missing : step::resolved;
    return list_of(keys);
}

void py_to_one_pass::admit(nb::handle rows) {
    expect(step::rows_missing);
    take_each(rows, [&](object_ref row) { m_pass->pass.take(m_source, std::move(row)); });
    m_pass->pass.admit(m_source);
    m_step = step::resolved;
}

void py_to_one_pass::attach() {
    expect(step::resolved);
    for (std::size_t number = 0; number < m_levels.size(); ++number) {
        if (m_fetched) { // user code may have run
            m_levels[number].instances.close();
        }
        m_pass->pass.attach(number, m_levels[number].instances);
    }
    py_vector<counters> count(m_relations.size());
    // From here on nothing throws.
    m_pass->pass.commit(count);
    for (std::size_t number = 0; number < count.size(); ++number) {
        *m_relations[number]->count += count[number];
    }
    if (!m_relations.empty()) {
        m_pass->count = m_relations.front()->count;
        m_pass->own_count = m_relations.front()->own_count;
    }
    if (!m_fetched && !m_levels.empty()) {
        of_chunk().keep(m_levels.front().instances.release());
    }
    end_with(std::move(m_pass), true);
    end();
}

void py_to_one_pass::end() noexcept {
    end_with(std::move(m_pass), false);
    m_levels.clear();
    m_relations.clear();
    m_own_relations.clear();
}

} // namespace memoized_prefetch::binding
