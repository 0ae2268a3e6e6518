/// finished_pass: a pass that has attached its rows. A chunk keeps it until the chunk ends, because it pins the rows.
#pragma once

#include "tables.hpp"

namespace memoized_prefetch::binding {

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

} // namespace memoized_prefetch::binding
