/// ForeignKeySpec, ManyToManySpec and the like: what the Python layer found out about a relation of one model class.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_relations(nb::module_& module);

} // namespace memoized_prefetch::binding
