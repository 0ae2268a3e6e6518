/// The Python class Chunk: the engine's passes over model instances.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_chunk(nb::module_& module);

} // namespace memoized_prefetch::binding
