/// The Python class Hydrator: turns database rows into Django model instances without calling Model.__init__ for each.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_hydrator(nb::module_& module);

} // namespace memoized_prefetch::binding
