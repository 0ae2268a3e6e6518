#include "lookahead.hpp"

#include "py_allocator.hpp"
#include "py_key.hpp"

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/lookahead/lookahead.hpp>
#include <memoized_prefetch/tables/key_set.hpp>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace memoized_prefetch::binding {

namespace {

using keys_of_table = key_set<py_key, py_key_traits, py_allocator<std::byte>>;
using columns = std::vector<std::pair<std::size_t, std::size_t>>; // position in a row, and relation
using statements = std::tuple<std::optional<std::size_t>, std::optional<std::size_t>, bool>; // lookahead::batch
using ranked = std::pair<std::size_t, std::vector<std::uint32_t>>; // relation, and the rank of each of its keys

/// Owned by one thread, which no code of the user can reach: a key's `__eq__` cannot change what is being read.
class py_lookahead {
public:
    py_lookahead() = default;
    py_lookahead(const py_lookahead&) = delete;
    py_lookahead& operator=(const py_lookahead&) = delete;
    py_lookahead(py_lookahead&&) = delete;
    py_lookahead& operator=(py_lookahead&&) = delete;
    ~py_lookahead() = default;

    lookahead core;

    std::size_t add_table() {
        m_keys.emplace_back();
        return core.add_table();
    }
    std::size_t add_relation(const lookahead::relation& one) {
        check_new(one);
        m_links.emplace_back();
        m_source.emplace_back();
        return core.add_relation(one);
    }

    /// Rows of the run. A relation below another one must come after it.
    void read(nb::list rows, const columns& of) {
        for (const auto& [position, number] : of) {
            check_kind(number, false);
        }
        std::vector<key_number> now(m_links.size(), no_key);
        for_each_row(rows, last_of(of), [&](PyObject* row) {
            for (const auto& [position, number] : of) {
                const lookahead::relation& is = core.of(number);
                PyObject* value = PyTuple_GET_ITEM(row, static_cast<Py_ssize_t>(position));
                if (is.below == lookahead::none) {
                    now[number] = number_of(is.table, value);
                    core.add_row(number, now[number]);
                } else if (const key_number object = now[is.below]; object == no_key) {
                    now[number] = no_key;
                } else {
                    if (!core.knows(number, object)) {
                        core.set(number, object, number_of(is.table, value));
                    }
                    now[number] = core.get(number, object);
                }
            }
        });
    }
    /// Rows of a table above: their key, then the keys that they hold.
    void read_below(nb::list rows, std::size_t above, const columns& of) {
        check_table(above);
        for (const auto& [position, number] : of) {
            check_kind(number, false);
            if (table_above(number) != above) {
                refuse(PyExc_ValueError, "expected a relation below rows of table %zu, got relation %zu", above,
                       number);
            }
        }
        for_each_row(rows, last_of(of), [&](PyObject* row) {
            const key_number object = known(above, PyTuple_GET_ITEM(row, 0));
            for (const auto& [position, number] : of) {
                if (object != no_key && !core.knows(number, object)) {
                    PyObject* value = PyTuple_GET_ITEM(row, static_cast<Py_ssize_t>(position));
                    core.set(number, object, number_of(core.of(number).table, value));
                }
            }
        });
    }
    /// Links as pairs of source and target. Those of the run's own rows are in their order, and a row without links has
    /// one pair with None.
    void read_links(nb::list rows, std::size_t number) {
        check_kind(number, true);
        const lookahead::relation& is = core.of(number);
        for_each_row(rows, 1, [&](PyObject* row) {
            PyObject* source = PyTuple_GET_ITEM(row, 0);
            PyObject* target = PyTuple_GET_ITEM(row, 1);
            if (is.below != lookahead::none) {
                const key_number object = known(core.of(is.below).table, source);
                if (object != no_key && target != Py_None) {
                    m_links[number].emplace_back(object, number_of(is.table, target));
                }
                return;
            }
            py_key key = py_key::of(object_ref::borrow(source));
            if (!m_source[number] || !py_key_traits::equal(*m_source[number], key)) {
                m_source[number] = std::move(key);
                core.begin_links(number);
            }
            if (target != Py_None) {
                core.add_link(number, number_of(is.table, target));
            }
        });
    }
    /// Keys of the rows that a many-to-many is below: only these exist.
    void read_rows_above(nb::list rows, std::size_t number) {
        check_kind(number, true);
        const std::size_t above = table_above(number);
        core.lacks_rows(number);
        for_each_row(rows, 0, [&](PyObject* row) {
            if (const key_number object = known(above, PyTuple_GET_ITEM(row, 0)); object != no_key) {
                core.has_row(number, object);
            }
        });
    }
    /// All links below a relation were read.
    void end_links(std::size_t number) {
        check_kind(number, true);
        const std::size_t above = table_above(number);
        core.has_keys(above, m_keys[above].size());
        core.set_links(number, m_links[number]);
        std::vector<std::pair<key_number, key_number>>().swap(m_links[number]);
    }

    [[nodiscard]] nb::list keys(std::size_t table) const {
        check_table(table);
        nb::list list;
        for (const py_key& key : m_keys[table].keys()) {
            list.append(nb::borrow(key.object.get()));
        }
        return list;
    }
    [[nodiscard]] std::size_t count(std::size_t table) const {
        check_table(table);
        return m_keys[table].size();
    }
    [[nodiscard]] std::size_t rows(std::size_t number) const {
        check_relation(number);
        return core.rows(number);
    }

    nb::tuple run(std::size_t rows, std::size_t chunk_size, const std::vector<std::optional<std::size_t>>& bounds,
                  const std::vector<std::vector<std::size_t>>& optima, const std::vector<statements>& batches,
                  const std::optional<ranked>& order, bool curves) {
        chunk_size = std::min(chunk_size, std::max<std::size_t>(rows, 1));
        check_chunks(rows, chunk_size, batches);
        if (bounds.size() != m_keys.size() || optima.size() != m_keys.size()) {
            refuse(PyExc_ValueError, "expected bounds and optima of %zu tables, got %zu and %zu", m_keys.size(),
                   bounds.size(), optima.size());
        }
        if (order) {
            check_order(rows, *order);
        }
        std::vector<lookahead::wish> wishes;
        for (std::size_t table = 0; table < m_keys.size(); ++table) {
            core.has_keys(table, m_keys[table].size());
            wishes.push_back({bounds[table].value_or(lookahead::none), curves, optima[table]});
        }
        std::vector<lookahead::batch> sizes;
        sizes.reserve(batches.size());
        for (const auto& [limit, size, ends] : batches) {
            sizes.push_back({limit.value_or(lookahead::none), size.value_or(lookahead::none), ends});
        }
        std::optional<lookahead::outcome> outcome;
        {
            const nb::gil_scoped_release released;
            const auto row_order = order ? core.ordered_by(order->first, order->second) : std::vector<std::uint32_t>{};
            outcome = core.run(rows, chunk_size, wishes, sizes, row_order);
        }
        nb::list tables;
        for (const simulated_table& table : outcome->tables) {
            nb::list found;
            table.distances().visit(
                [&](std::uint64_t size, std::uint64_t uses) { found.append(nb::make_tuple(size, uses)); });
            nb::list optimal;
            for (const optimal_hits& one : table.optima()) {
                optimal.append(table.asked() - one.found());
            }
            tables.append(nb::make_tuple(table.asked(), table.fetched(), found, optimal));
        }
        nb::list queries;
        for (const std::uint64_t one : outcome->queries) {
            queries.append(one);
        }
        return nb::make_tuple(tables, queries, outcome->links);
    }

private:
    /// Numbers from Python index the vectors here and in `core`, so every one is checked when it comes.
    template <class... Arguments>
    [[noreturn]] MEMOIZED_PREFETCH_COLD static void refuse(PyObject* error, const char* format,
                                                           Arguments... arguments) {
        PyErr_Format(error, format, arguments...);
        throw_python_error();
    }
    void check_table(std::size_t table) const {
        if (table >= m_keys.size()) {
            refuse(PyExc_IndexError, "expected the number of one of %zu tables, got %zu", m_keys.size(), table);
        }
    }
    void check_relation(std::size_t number) const {
        if (number >= m_links.size()) {
            refuse(PyExc_IndexError, "expected the number of one of %zu relations, got %zu", m_links.size(), number);
        }
    }
    void check_kind(std::size_t number, bool to_many) const {
        check_relation(number);
        if (core.of(number).to_many != to_many) {
            refuse(PyExc_ValueError, "expected a relation to %s, got relation %zu", to_many ? "many rows" : "one row",
                   number);
        }
    }
    /// The table of the rows that a relation is below.
    [[nodiscard]] std::size_t table_above(std::size_t number) const {
        if (core.of(number).below == lookahead::none) {
            refuse(PyExc_ValueError, "expected a relation below another one, got relation %zu", number);
        }
        return core.of(core.of(number).below).table;
    }
    void check_new(const lookahead::relation& one) const {
        check_table(one.table);
        if (one.below == lookahead::none) {
            if (one.place != lookahead::none || one.links != lookahead::none) {
                refuse(PyExc_ValueError, "a place and a table of links are for relations below another one");
            }
            return;
        }
        check_relation(one.below);
        if (one.links != lookahead::none) {
            check_table(one.links);
        }
        if (one.place > m_links.size()) { // numbered in turn, so there are at most as many as relations
            refuse(PyExc_ValueError, "expected the number of a place, at most %zu, for a relation below another one",
                   m_links.size());
        }
        const std::size_t above = core.of(one.below).table;
        for (std::size_t number = 0; number < m_links.size(); ++number) {
            if (core.of(number).place == one.place && table_above(number) != above) {
                refuse(PyExc_ValueError, "expected a place of table %zu, got place %zu, which is of table %zu", above,
                       one.place, table_above(number));
            }
        }
    }
    /// The chunks are numbered in 32 bits, once for each time that tables are trimmed.
    static void check_chunks(std::size_t rows, std::size_t chunk_size, const std::vector<statements>& batches) {
        if (chunk_size == 0) {
            refuse(PyExc_ValueError, "expected a chunk size of at least 1, got 0");
        }
        if (rows / chunk_size >= no_key / (batches.size() + 1)) {
            refuse(PyExc_ValueError, "expected fewer than 2^32 chunks and groups, got %zu rows in chunks of %zu", rows,
                   chunk_size);
        }
        for (const auto& [limit, size, ends] : batches) {
            if (size == std::size_t{0}) {
                refuse(PyExc_ValueError, "expected batches of at least 1 key, got 0");
            }
        }
    }
    void check_order(std::size_t rows, const ranked& order) const {
        const auto& [number, ranks] = order;
        check_kind(number, false);
        const std::size_t keys = m_keys[core.of(number).table].size();
        if (core.of(number).below != lookahead::none || core.rows(number) < rows) {
            refuse(PyExc_ValueError, "expected a relation of all %zu rows of the run, got relation %zu, read for %zu",
                   rows, number, core.rows(number));
        }
        if (ranks.size() != keys || std::any_of(ranks.begin(), ranks.end(), [&](auto rank) { return rank >= keys; })) {
            refuse(PyExc_ValueError, "expected a rank below %zu for each of %zu keys, got %zu ranks", keys, keys,
                   ranks.size());
        }
    }

    static std::size_t last_of(const columns& of) {
        std::size_t last = 0;
        for (const auto& [position, number] : of) {
            last = std::max(last, position);
        }
        return last;
    }
    template <class Visit>
    static void for_each_row(nb::list rows, std::size_t last, Visit&& visit) {
        for (Py_ssize_t at = 0; at < PyList_GET_SIZE(rows.ptr()); ++at) {
            const object_ref row = object_ref::borrow(PyList_GET_ITEM(rows.ptr(), at));
            if (!PyTuple_Check(row.get()) || PyTuple_GET_SIZE(row.get()) <= static_cast<Py_ssize_t>(last)) {
                PyErr_Format(PyExc_TypeError, "a row must be a tuple of at least %zu values, got %R", last + 1,
                             row.get());
                throw_python_error();
            }
            visit(row.get());
        }
    }
    key_number number_of(std::size_t table, PyObject* value) {
        return value == Py_None ? no_key : m_keys[table].add(py_key::of(object_ref::borrow(value)));
    }
    [[nodiscard]] key_number known(std::size_t table, PyObject* value) const {
        return value == Py_None ? no_key : m_keys[table].find(py_key::of(object_ref::borrow(value)));
    }

    std::deque<keys_of_table> m_keys;                                    // by table
    std::vector<std::vector<std::pair<key_number, key_number>>> m_links; // by relation, until `end_links`
    std::vector<std::optional<py_key>> m_source;                         // by relation: whose links came last
};

static_assert(no_key == no_slot, "key_set::find returns it for an unknown key");

} // namespace

void bind_lookahead(nb::module_& module) {
    using size = std::optional<std::size_t>;
    nb::class_<py_lookahead>(module, "Lookahead",
                             "Tells from key columns alone what a run would fetch. For use by one thread.")
        .def(nb::init<>())
        .def("add_table", &py_lookahead::add_table, "Adds a table; returns its number.")
        .def(
            "add_relation",
            [](py_lookahead& self, std::size_t table, std::size_t group, size below, size place, size links,
               bool to_many, bool repeats) {
                return self.add_relation({table, group, below.value_or(lookahead::none),
                                          place.value_or(lookahead::none), links.value_or(lookahead::none), to_many,
                                          repeats});
            },
            nb::arg("table"), nb::arg("group"), nb::arg("below").none() = nb::none(),
            nb::arg("place").none() = nb::none(), nb::arg("links").none() = nb::none(), nb::arg("to_many") = false,
            nb::arg("repeats") = false,
            nb::sig(
                "def add_relation(self, table: int, group: int, below: int | None = None, place: int | None = None, "
                "links: int | None = None, to_many: bool = False, repeats: bool = False) -> int"),
            "Adds the relation of one lookup, after the one that it is below; returns its number.")
        .def("read", &py_lookahead::read, nb::arg("rows"), nb::arg("columns"),
             nb::sig("def read(self, rows: list[Any], columns: Sequence[tuple[int, int]]) -> None"),
             "Reads rows of the run: tuples with the keys of relations, as (position, relation).")
        .def("read_below", &py_lookahead::read_below, nb::arg("rows"), nb::arg("above"), nb::arg("columns"),
             nb::sig("def read_below(self, rows: list[Any], above: int, columns: Sequence[tuple[int, int]]) -> None"),
             "Reads rows of a table above: tuples of their key and the keys of relations, as (position, relation).")
        .def("read_links", &py_lookahead::read_links, nb::arg("rows"), nb::arg("relation"),
             nb::sig("def read_links(self, rows: list[Any], relation: int) -> None"),
             "Reads links of a many-to-many: tuples of source and target.")
        .def("read_rows_above", &py_lookahead::read_rows_above, nb::arg("rows"), nb::arg("relation"),
             nb::sig("def read_rows_above(self, rows: list[Any], relation: int) -> None"),
             "Reads the keys of the rows above a many-to-many: tuples that begin with it. Others do not exist.")
        .def("end_links", &py_lookahead::end_links, nb::arg("relation"),
             "All links of a many-to-many below a relation were read.")
        .def("keys", &py_lookahead::keys, nb::arg("table"), nb::sig("def keys(self, table: int) -> list[Any]"),
             "The distinct keys of a table, by number.")
        .def("count", &py_lookahead::count, nb::arg("table"), "How many distinct keys a table has.")
        .def("rows", &py_lookahead::rows, nb::arg("relation"), "How many rows of the run a relation was read for.")
        .def("run", &py_lookahead::run, nb::arg("rows"), nb::arg("chunk_size"), nb::arg("bounds"), nb::arg("optima"),
             nb::arg("batches"), nb::arg("order"), nb::arg("curves"),
             nb::sig("def run(self, rows: int, chunk_size: int, bounds: Sequence[int | None], optima: "
                     "Sequence[Sequence[int]], "
                     "batches: Sequence[tuple[int | None, int | None, bool]], order: tuple[int, Sequence[int]] | None, "
                     "curves: bool) -> "
                     "tuple[list[tuple[int, int, list[tuple[int, int]], list[int]]], list[int], int]"),
             "Goes through the first `rows` rows in chunks, in the order of a relation's keys if their ranks are "
             "given. Returns for each "
             "table (asked, fetched, [(size, uses), ...], [fetched with the "
             "optimum, ...]), the statements of each group, and how many of the run's own rows had their links "
             "fetched.");
}

} // namespace memoized_prefetch::binding
