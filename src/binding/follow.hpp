/// The way from one level of a lookup to the next: what is attached to the objects of a level, and how they are grouped.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_follow(nb::module_& module);

} // namespace memoized_prefetch::binding
