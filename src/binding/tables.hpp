/// The Python classes Memo and Links: the engine's tables over Python objects.
#pragma once

#include "instances.hpp"
#include "py_allocator.hpp"
#include "py_key.hpp"

#include <memoized_prefetch/passes/to_many_pass.hpp>
#include <memoized_prefetch/passes/to_one_pass.hpp>

#include <optional>

namespace memoized_prefetch::binding {

using memo_of_rows = memo_table<py_key, object_ref, py_key_traits, py_allocator<std::byte>>;
using links_of_keys = link_table<py_key, py_key, py_key_traits, py_allocator<std::byte>>;

/// Rows by the value of their key column.
struct py_memo {
    py_memo(std::size_t bound, object_ref key_name, bool key_in_dict, object_ref pk_name);

    /// Whether a row still has this key: `delete()` and `pk = None; save()` change shared rows.
    [[nodiscard]] bool is_row(PyObject* row, const py_key& asked) const;

    memo_of_rows rows;
    column key;         // what rows are found by
    object_ref pk_name; // set if `key` is not the primary key; a row without a primary key was deleted
};

struct py_links {
    explicit py_links(std::size_t bound);

    links_of_keys links;
};

void bind_tables(nb::module_& module);

} // namespace memoized_prefetch::binding
