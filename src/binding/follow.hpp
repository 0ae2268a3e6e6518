/// Goes from one level of a lookup to the next: collects what is attached to the objects of a level, and groups them.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_follow(nb::module_& module);

} // namespace memoized_prefetch::binding
