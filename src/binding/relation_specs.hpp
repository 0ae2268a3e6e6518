/// The Python classes ToOneSpec, ToManySpec and their kin: what the Python layer found out about a relation of one class.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_relations(nb::module_& module);

} // namespace memoized_prefetch::binding
