/// The Python function class_signature, which shows whether a class has changed since its instances were planned.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_class_signature(nb::module_& module);

} // namespace memoized_prefetch::binding
