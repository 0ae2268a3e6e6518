/// The Python classes ToOnePass, ToManyPass and CollectionPass: one relation, or all to-one relations to one memo, on its
/// way through a chunk.
///
///   with chunk.to_one(memo, levels, lent) as rows:
///       if instances := rows.collect():      # those whose key is not loaded: load it
///           rows.collect_loaded()
///       if keys := rows.missing():           # those that are not in memory: fetch their rows
///           rows.admit(...)
///       rows.attach()                        # and commit
///
/// Python takes the steps because the queries between them are Python's. A pass that does not come to `attach` has failed:
/// when its `with` block ends, the tables are as before.
#pragma once

#include "chunk.hpp"
#include "tables.hpp"
#include "to_many.hpp"
#include "to_one.hpp"

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/passes/collection_pass.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace memoized_prefetch::binding {

/// Row source of the passes, but for the query.
class row_keys {
public:
    explicit row_keys(const py_memo& memo) : m_memo(memo) {}

    static void prefetch(const object_ref& row, const py_key& key, int step) noexcept {
        if (!row) {
            return;
        }
        if (step == 0) {
            prefetch_object(row.get());
            detail::prefetch_to_write(key.object.get()); // as a rule the very object that the row has as its key
        } else {
            prefetch_attributes(row.get());
        }
    }
    [[nodiscard]] py_key key_of(const object_ref& row) const { return py_key::of(m_memo.key.load(row.get())); }

    /// Memo.replace may run in a thread, or while keys are compared or rows attached.
    static constexpr bool exchanges_rows = true;
    [[nodiscard]] bool valid(const object_ref& row, const py_key& key) const { return m_memo.is_row(row.get(), key); }

private:
    const py_memo& m_memo;
};

/// A Chunk from Python. nanobind has checked its type, and that its `__init__` has run.
using given_chunk = nb::pointer_and_handle<py_chunk>;

/// What all passes have in common: their chunk, and the order of the steps.
class py_pass {
public:
    py_pass(const py_pass&) = delete;
    py_pass& operator=(const py_pass&) = delete;
    py_pass(py_pass&&) = delete;
    py_pass& operator=(py_pass&&) = delete;

protected:
    enum class step : std::uint8_t { begun, collected, links_missing, linked, rows_missing, resolved, running, ended };

    explicit py_pass(const given_chunk& chunk) : m_chunk(*chunk.p), m_kept_alive(nb::borrow(chunk.h)) {
        m_chunk.begin();
    }
    ~py_pass() { end_with(nullptr, false); }

    [[nodiscard]] py_chunk& of_chunk() const noexcept { return m_chunk; }
    /// Begins a step. Raises RuntimeError unless the step before was this one and has succeeded: a step that has failed
    /// half-way, or that runs, must not be taken again.
    void expect(step before);
    /// Ends the pass, unless it has ended.
    void end_with(std::unique_ptr<open_pass> pass, bool committed) noexcept {
        if (m_step != step::ended) {
            m_step = step::ended;
            of_chunk().end(std::move(pass), committed);
        }
    }

    step m_step = step::begun;

private:
    py_chunk& m_chunk;
    nb::object m_kept_alive; // that chunk
};

class py_to_one_pass final : public py_pass {
public:
    /// `levels`: [(instances, [spec, ...], remembered), ...], all leading to the memo's table.
    py_to_one_pass(const given_chunk& chunk, nb::object memo, nb::list levels, nb::dict lent);
    py_to_one_pass(const py_to_one_pass&) = delete;
    py_to_one_pass& operator=(const py_to_one_pass&) = delete;
    py_to_one_pass(py_to_one_pass&&) = delete;
    py_to_one_pass& operator=(py_to_one_pass&&) = delete;
    ~py_to_one_pass();

    nb::object collect();
    void collect_loaded();
    nb::object missing();
    void admit(nb::handle rows);
    void attach();
    void end() noexcept;

private:
    struct level {
        to_one_instances instances;
        py_vector<std::size_t> deferred;
    };
    class pinning;

    std::unique_ptr<pinning> m_pass; // until the chunk takes it over
    nb::dict m_lent;
    row_keys m_source;
    py_vector<object_ref> m_own_relations;
    py_vector<const to_one_relation*> m_relations;
    py_vector<level> m_levels;
    bool m_fetched = false;
};

class py_to_many_pass final : public py_pass {
public:
    py_to_many_pass(const given_chunk& chunk, nb::object links, nb::object memo, nb::handle objects,
                    nb::object relation, bool remembered);
    py_to_many_pass(const py_to_many_pass&) = delete;
    py_to_many_pass& operator=(const py_to_many_pass&) = delete;
    py_to_many_pass(py_to_many_pass&&) = delete;
    py_to_many_pass& operator=(py_to_many_pass&&) = delete;
    ~py_to_many_pass();

    nb::object collect();
    void collect_loaded();
    nb::object missing_links();
    void admit_links(nb::handle batches);
    nb::object missing();
    void admit(nb::handle rows);
    void attach();
    void end() noexcept;

private:
    class pinning;

    nb::object m_relation;
    std::unique_ptr<pinning> m_pass;
    row_keys m_source;
    std::optional<to_many_instances> m_objects;
    py_vector<std::size_t> m_deferred;
};

class py_collection_pass final : public py_pass {
public:
    py_collection_pass(const given_chunk& chunk, nb::handle objects, nb::object relation, bool remembered);
    py_collection_pass(const py_collection_pass&) = delete;
    py_collection_pass& operator=(const py_collection_pass&) = delete;
    py_collection_pass(py_collection_pass&&) = delete;
    py_collection_pass& operator=(py_collection_pass&&) = delete;
    ~py_collection_pass() { end(); }

    nb::object collect();
    void collect_loaded();
    nb::object missing();
    void admit(nb::handle rows);
    void attach();
    void end() noexcept;

private:
    using pass = collection_pass<py_key, object_ref, py_key_traits, py_allocator<std::byte>>;

    nb::object m_relation;
    std::optional<to_many_instances> m_objects;
    std::optional<pass> m_pass;
    py_vector<std::size_t> m_deferred;
};

void bind_passes(nb::module_& module);

} // namespace memoized_prefetch::binding
