/// Marks instances like Django when it looks up their prefetched collections.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_marks(nb::module_& module);

} // namespace memoized_prefetch::binding
