/// Lookahead: the core's lookahead over Python keys, as a database driver returns them.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

void bind_lookahead(nanobind::module_& module);

} // namespace memoized_prefetch::binding
