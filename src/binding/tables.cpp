#include "tables.hpp"

#include <nanobind/stl/optional.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace memoized_prefetch::binding {

names interned;
uuid_class uuids;

void intern_names() {
    const auto intern = [](const char* name) { return checked(PyUnicode_InternFromString(name)).release(); };
    interned.state = intern("_state");
    interned.fields_cache = intern("fields_cache");
    interned.prefetched_objects_cache = intern("_prefetched_objects_cache");
    interned.result_cache = intern("_result_cache");
    interned.memo_source = intern("_memo_source");
    interned.db = intern("db");
    interned.no_arguments = checked(PyTuple_New(0)).release();
    interned.receivers = intern("receivers");
    interned.send = intern("send");
    interned.of_send = checked(PyTuple_Pack(2, intern("sender"), intern("instance"))).release();
    interned.of_receivers = checked(PyTuple_Pack(3, intern("signal"), intern("sender"), intern("instance"))).release();
}

void find_uuid_class() {
    const object_ref module = checked(PyImport_ImportModule("uuid"));
    object_ref type = checked(PyObject_GetAttrString(module.get(), "UUID"));
    uuids.offset = PyType_Check(type.get()) == 0 ? 0 : offset_of_slot(type.get(), "int");
    if (uuids.offset != 0) {
        uuids.type = reinterpret_cast<PyTypeObject*>(type.release());
    }
}

Py_ssize_t offset_of_slot(PyObject* cls, const char* name) {
    const object_ref slot = checked(PyObject_GetAttrString(cls, name));
    return Py_TYPE(slot.get()) != &PyMemberDescr_Type
               ? 0
               : reinterpret_cast<PyMemberDescrObject*>(slot.get())->d_member->offset;
}

py_memo::py_memo(std::size_t bound, object_ref key_name, bool key_in_dict, object_ref pk)
    : rows(bound), key{std::move(key_name), key_in_dict}, pk_name(std::move(pk)) {
    rows.measure_distances();
}

bool py_memo::is_row(PyObject* row, const py_key& asked) const {
    const object_ref value = key.load(row);
    if (value.get() != asked.object.get()) {
        if (value.get() == Py_None || !py_key_traits::equal(asked, py_key::of(value))) {
            return false;
        }
    }
    return !pk_name || checked(PyObject_GetAttr(row, pk_name.get())).get() != Py_None;
}

py_links::py_links(std::size_t bound) : links(bound) { links.measure_distances(); }

namespace {

std::optional<std::size_t> bound_of(std::size_t bound) {
    return bound == unbounded ? std::nullopt : std::optional<std::size_t>(bound);
}

/// None means no bound, and so does a number that is too large for a size.
std::size_t bound_from(nb::handle bound) {
    if (bound.is_none()) {
        return unbounded;
    }
    if (PyLong_Check(bound.ptr()) == 0) {
        PyErr_Format(PyExc_TypeError, "a bound must be an int or None, got %R", bound.ptr());
        throw_python_error();
    }
    const std::size_t number = PyLong_AsSize_t(bound.ptr());
    if (number == static_cast<std::size_t>(-1) && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        const object_ref none = checked(PyLong_FromLong(0));
        if (checked(PyObject_RichCompareBool(bound.ptr(), none.get(), Py_LT)) != 0) {
            PyErr_Format(PyExc_ValueError, "a bound must not be negative, got %R", bound.ptr());
            throw_python_error();
        }
        return unbounded;
    }
    return number;
}

template <class Table>
void set_bound(Table& table, nb::handle bound) {
    table.set_bound(bound_from(bound));
    table.trim();
    table.reclaim();
}

/// Owned copies of what a table holds, most recently used first. Make Python containers only afterwards, from these:
/// allocating one may start garbage collection, which may run code that changes the table.
struct entry {
    object_ref key;
    object_ref row;
    py_vector<object_ref> targets;
};

py_vector<entry> entries_of(const py_memo& self, std::size_t limit) {
    py_vector<entry> entries;
    entries.reserve(std::min(self.rows.size(), limit));
    for (slot_id slot = self.rows.newest(); slot != no_slot; slot = self.rows.older(slot)) {
        if (entries.size() == limit) {
            break;
        }
        if (!self.rows.is_absent(slot)) {
            entries.push_back({self.rows.key(slot).object, self.rows.handle(slot), {}});
        }
    }
    return entries;
}

py_vector<object_ref> targets_of(const py_links& self, slot_id slot) {
    py_vector<object_ref> targets;
    targets.reserve(self.links.targets(slot).size());
    for (const py_key& target : self.links.targets(slot)) {
        targets.push_back(target.object);
    }
    return targets;
}

py_vector<entry> entries_of(const py_links& self, std::size_t limit) {
    py_vector<entry> entries;
    entries.reserve(std::min(self.links.size(), limit));
    for (slot_id slot = self.links.newest(); slot != no_slot && entries.size() < limit; slot = self.links.older(slot)) {
        entries.push_back({self.links.key(slot).object, {}, targets_of(self, slot)});
    }
    return entries;
}

nb::list list_of(const py_vector<object_ref>& objects) {
    nb::list list;
    for (const object_ref& object : objects) {
        list.append(nb::borrow(object.get()));
    }
    return list;
}

nb::list rows_of(const py_memo& self, nb::handle limit) {
    nb::list rows;
    for (const entry& one : entries_of(self, bound_from(limit))) {
        rows.append(nb::make_tuple(nb::borrow(one.key.get()), nb::borrow(one.row.get())));
    }
    return rows;
}

/// Rows from all parts of the table: one in so many that about `count` come together.
nb::list sample_of(const py_memo& self, std::size_t count) {
    py_vector<object_ref> rows;
    const std::size_t step = std::max<std::size_t>(1, self.rows.size() / std::max<std::size_t>(1, count));
    std::size_t at = step / 2;
    for (slot_id slot = self.rows.newest(); slot != no_slot; slot = self.rows.older(slot)) {
        if (at-- == 0) {
            at = step - 1;
            if (!self.rows.is_absent(slot)) {
                rows.push_back(self.rows.handle(slot));
            }
        }
    }
    return list_of(rows);
}

/// Whether this very instance is remembered. An instance whose key is deferred is not: the key is not loaded for this.
bool holds_row(const py_memo& self, nb::handle row) {
    const object_ref key = self.key.read_from(checked(PyObject_GenericGetDict(row.ptr(), nullptr)).get());
    const slot_id slot = !key || key.get() == Py_None ? no_slot : self.rows.find(py_key::of(key));
    return slot != no_slot && self.rows.handle(slot).get() == row.ptr();
}

/// Adds rows that were not asked for, the first one as the most recently used, and keeps as many as the bound allows.
/// `generation`: as it was before they were read. Once it has changed, no more are added. Returns how many were.
std::size_t load_rows(py_memo& self, nb::handle rows, std::uint64_t generation) {
    const object_ref sequence = checked(PySequence_Tuple(rows.ptr()));
    py_vector<py_key> keys; // first, since it may fail, and may run code of the project
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(sequence.get()); ++at) {
        keys.push_back(py_key::of(self.key.load(PyTuple_GET_ITEM(sequence.get(), at))));
    }
    std::size_t added = 0;
    for (std::size_t at = keys.size(); at-- > 0;) {
        PyObject* row = PyTuple_GET_ITEM(sequence.get(), static_cast<Py_ssize_t>(at));
        slot_id slot = self.rows.find(keys[at]); // may run code, which may discard keys
        if (self.rows.generation() != generation) {
            break;
        }
        if (slot != no_slot && self.rows.is_absent(slot)) {
            self.rows.erase(std::exchange(slot, no_slot));
        }
        if (slot == no_slot) {
            self.rows.reserve_more(1);
            slot = self.rows.add_row(std::move(keys[at]), object_ref::borrow(row));
            if (self.rows.leaves(slot)) { // one of many that hash alike: it is fetched when needed
                self.rows.erase(slot);
                continue;
            }
            self.rows.loaded(slot);
            ++added;
        }
    }
    self.rows.trim();
    self.rows.reclaim();
    return added;
}

nb::list absences_of(const py_memo& self) {
    py_vector<object_ref> keys;
    for (slot_id slot = self.rows.newest(); slot != no_slot; slot = self.rows.older(slot)) {
        if (self.rows.is_absent(slot)) {
            keys.push_back(self.rows.key(slot).object);
        }
    }
    return list_of(keys);
}

auto& table_of(py_memo& self) { return self.rows; }
auto& table_of(py_links& self) { return self.links; }
const auto& table_of(const py_memo& self) { return self.rows; }
const auto& table_of(const py_links& self) { return self.links; }

template <class Table>
void discard(Table& self, nb::handle keys) {
    const object_ref sequence = checked(PySequence_Tuple(keys.ptr()));
    auto& table = table_of(self);
    table.next_generation();
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(sequence.get()); ++at) {
        table.forget_key(py_key::of(object_ref::borrow(PyTuple_GET_ITEM(sequence.get(), at))));
    }
    table.reclaim();
}

/// (size, uses) in order of size, as bytes: hundreds of tuples would set off Python's garbage collector, which visits all
/// remembered rows. With them, a run in 64 parts took a tenth longer.
struct uses_of_size {
    std::int64_t size;
    std::int64_t uses;
};

nb::bytes packed(const py_vector<uses_of_size>& uses) {
    return nb::bytes(reinterpret_cast<const char*>(uses.data()), uses.size() * sizeof(uses_of_size));
}

py_vector<uses_of_size> unpacked(const nb::bytes& packed) {
    py_vector<uses_of_size> uses(packed.size() / sizeof(uses_of_size));
    if (!uses.empty()) { // memcpy takes no null pointer, even for no bytes
        std::memcpy(uses.data(), packed.c_str(), uses.size() * sizeof(uses_of_size));
    }
    return uses;
}

template <class Table>
nb::tuple usage(const Table& self) {
    const auto& table = table_of(self);
    const auto& distances = table.distances();
    py_vector<uses_of_size> found;
    distances.visit([&](std::uint64_t size, std::uint64_t uses) {
        found.push_back({static_cast<std::int64_t>(size), static_cast<std::int64_t>(uses)});
    });
    return nb::make_tuple(table.fetched(), distances.fetched_again(), distances.fetched_twice(), table.largest(),
                          distances.exact(), table.bytes(), packed(found));
}

nb::bytes added_uses(const nb::bytes& left, const nb::bytes& right, std::int64_t factor) {
    py_vector<uses_of_size> sums;
    const auto append = [&](std::int64_t size, std::int64_t uses) {
        if (uses != 0) {
            sums.push_back({size, uses});
        }
    };
    const auto others = unpacked(right);
    auto other = others.begin();
    for (const auto& [size, uses] : unpacked(left)) {
        for (; other != others.end() && other->size < size; ++other) {
            append(other->size, factor * other->uses);
        }
        const bool is_in_both = other != others.end() && other->size == size;
        append(size, is_in_both ? uses + factor * other->uses : uses);
        other += is_in_both ? 1 : 0;
    }
    for (; other != others.end(); ++other) {
        append(other->size, factor * other->uses);
    }
    return packed(sums);
}

void replace_row(py_memo& self, nb::handle key, nb::handle old, nb::handle row) {
    const slot_id slot = self.rows.find(py_key::of(object_ref::borrow(key.ptr())));
    // Another thread may have read the row again since then.
    if (slot != no_slot && self.rows.handle(slot).get() == old.ptr()) {
        const object_ref before = self.rows.exchange(slot, object_ref::borrow(row.ptr())); // released at the very end
    }
}

nb::list links_of(const py_links& self, nb::handle limit) {
    nb::list links;
    for (const entry& one : entries_of(self, bound_from(limit))) {
        links.append(nb::make_tuple(nb::borrow(one.key.get()), list_of(one.targets)));
    }
    return links;
}

int visit_object(const object_ref& object, visitproc visit, void* arg) {
    Py_VISIT(object.get());
    return 0;
}

int traverse_memo(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) {
        return 0;
    }
    return nb::inst_ptr<py_memo>(self)->rows.visit([&](const py_key& key, const object_ref& row) {
        const int stop = visit_object(key.object, visit, arg);
        return stop != 0 ? stop : visit_object(row, visit, arg);
    });
}

int clear_memo(PyObject* self) {
    if (nb::inst_ready(self)) {
        nb::inst_ptr<py_memo>(self)->rows.clear();
    }
    return 0;
}

int traverse_links(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) {
        return 0;
    }
    return nb::inst_ptr<py_links>(self)->links.visit(
        [&](const py_key& key) { return visit_object(key.object, visit, arg); });
}

int clear_links(PyObject* self) {
    if (nb::inst_ready(self)) {
        nb::inst_ptr<py_links>(self)->links.clear();
    }
    return 0;
}

PyType_Slot memo_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_memo)},
                            {Py_tp_clear, reinterpret_cast<void*>(clear_memo)},
                            {0, nullptr}};
PyType_Slot links_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_links)},
                             {Py_tp_clear, reinterpret_cast<void*>(clear_links)},
                             {0, nullptr}};

constexpr const char* usage_doc =
    "Uses of keys that were not there; how many of these were of evicted keys, and of how many different ones; the "
    "most entries kept after a chunk; whether the numbers are exact; bytes allocated, without the objects; and pairs "
    "(size, uses) of 64-bit integers in order of size, packed: a table of this size would have found `uses` more than "
    "one of `size - 1`.";

} // namespace

void bind_tables(nb::module_& module) {
    nb::class_<counters>(module, "Counters", "What one relation did; plain numbers that only grow.")
        .def(nb::init<>())
        .def_rw("requests", &counters::requests)
        .def_rw("hits", &counters::hits)
        .def_rw("misses", &counters::misses)
        .def_rw("fetched", &counters::fetched)
        .def_rw("missing", &counters::missing)
        .def_rw("evicted", &counters::evicted)
        .def_rw("queries", &counters::queries)
        .def(
            "add_queries", [](counters& self, std::uint64_t count) { self.queries += count; }, nb::arg("count"),
            "Adds to `queries`; unlike `+=`, this is safe in several threads.");

    nb::class_<py_memo>(module, "Memo", nb::type_slots(memo_slots),
                        "The rows of one table, by the value of one column, most recently used first, at most `bound`.")
        .def(
            "__init__",
            [](py_memo* self, nb::handle bound, nb::str key_name, bool key_in_dict, nb::object pk_name) {
                new (self) py_memo(bound_from(bound), from_nb(key_name), key_in_dict, optional_from_nb(pk_name));
            },
            nb::arg("bound").none(), nb::arg("key_name"), nb::arg("key_in_dict") = false,
            nb::arg("pk_name").none() = nb::none(),
            nb::sig("def __init__(self, bound: int | None, key_name: str, key_in_dict: bool = False, "
                    "pk_name: str | None = None) -> None"))
        .def_prop_rw(
            "bound", [](const py_memo& self) { return bound_of(self.rows.bound()); },
            [](py_memo& self, nb::handle bound) { set_bound(self.rows, bound); }, nb::arg().none(),
            nb::for_getter(nb::sig("def bound(self) -> int | None")),
            nb::for_setter(nb::sig("def bound(self, arg: int | None, /) -> None")))
        .def(
            "__len__", [](const py_memo& self) { return self.rows.size(); }, "Entries, remembered absences included.")
        .def("rows", &rows_of, nb::arg("limit").none() = nb::none(),
             nb::sig("def rows(self, limit: int | None = None) -> list[tuple[Any, Any]]"),
             "Keys and rows, most recently used first; at most `limit`.")
        .def("usage", &usage<py_memo>, nb::sig("def usage(self) -> tuple[int, int, int, int, bool, int, PackedUses]"),
             usage_doc)
        .def("sample", &sample_of, nb::arg("count"), nb::sig("def sample(self, count: int) -> list[Any]"),
             "About so many rows, from all parts of the order of use.")
        .def("holds", &holds_row, nb::arg("row"), nb::sig("def holds(self, row: object) -> bool"),
             "Whether this very instance is remembered.")
        .def_prop_ro(
            "bytes", [](const py_memo& self) { return self.rows.bytes(); },
            "Bytes allocated by the engine, without the rows.")
        .def_prop_ro(
            "generation", [](const py_memo& self) { return self.rows.generation(); },
            "A number that changes whenever entries are forgotten because they are out of date.")
        .def("load", &load_rows, nb::arg("rows"), nb::arg("generation"),
             nb::sig("def load(self, rows: Iterable[object], generation: int) -> int"),
             "Adds rows that were not asked for, unless the generation has changed; returns how many were new.")
        .def_prop_ro(
            "key_name", [](const py_memo& self) { return nb::borrow<nb::str>(self.key.name.get()); },
            "The attribute that rows are found by.")
        .def("absences", &absences_of, nb::sig("def absences(self) -> list[Any]"), "Keys known to have no row.")
        .def("discard", &discard<py_memo>, nb::arg("keys"), nb::sig("def discard(self, keys: Iterable[Any]) -> None"),
             "Forgets the entries with these keys; rows that are being fetched now are not remembered.")
        .def("replace", &replace_row, nb::arg("key"), nb::arg("old"), nb::arg("row"),
             nb::sig("def replace(self, key: Any, old: object, row: object) -> None"),
             "Replaces the row of a key by another, if it is still `old`.")
        .def("clear", [](py_memo& self) { self.rows.clear(); });

    nb::class_<py_links>(
        module, "Links", nb::type_slots(links_slots),
        "The ordered target keys of each source key, most recently used first, at most `bound` sources.")
        .def(
            "__init__", [](py_links* self, nb::handle bound) { new (self) py_links(bound_from(bound)); },
            nb::arg("bound").none(), nb::sig("def __init__(self, bound: int | None) -> None"))
        .def_prop_rw(
            "bound", [](const py_links& self) { return bound_of(self.links.bound()); },
            [](py_links& self, nb::handle bound) { set_bound(self.links, bound); }, nb::arg().none(),
            nb::for_getter(nb::sig("def bound(self) -> int | None")),
            nb::for_setter(nb::sig("def bound(self, arg: int | None, /) -> None")))
        .def(
            "__len__", [](const py_links& self) { return self.links.size(); },
            "Sources, those without targets included.")
        .def_prop_ro(
            "bytes", [](const py_links& self) { return self.links.bytes(); },
            "Bytes allocated by the engine, without the keys.")
        .def("items", &links_of, nb::arg("limit").none() = nb::none(),
             nb::sig("def items(self, limit: int | None = None) -> list[tuple[Any, list[Any]]]"),
             "Sources and their targets, most recently used first; at most `limit`.")
        .def("usage", &usage<py_links>, nb::sig("def usage(self) -> tuple[int, int, int, int, bool, int, PackedUses]"),
             usage_doc)
        .def("discard", &discard<py_links>, nb::arg("sources"),
             nb::sig("def discard(self, sources: Iterable[Any]) -> None"),
             "Forgets the links of these sources; links that are being fetched now are not remembered.")
        .def("clear", [](py_links& self) { self.links.clear(); });
    module.def("added_uses", &added_uses, nb::arg("left"), nb::arg("right"), nb::arg("factor") = 1,
               nb::sig("def added_uses(left: PackedUses, right: PackedUses, factor: int = 1) -> PackedUses"),
               "What `usage()` packs: the uses of `left`, and `factor` times those of `right`.");
}

} // namespace memoized_prefetch::binding
