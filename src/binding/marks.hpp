/// Marks on instances that their prefetched collections are being looked up, as Django makes them.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_marks(nb::module_& module);

} // namespace memoized_prefetch::binding
