/// The Python class Chunk: the engine's passes over model instances, and what walks from one level of a lookup to the next.
#pragma once

#include "relations.hpp"

namespace memoized_prefetch::binding {

void bind_chunk(nb::module_& module);

} // namespace memoized_prefetch::binding
