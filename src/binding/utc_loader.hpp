/// The Python class UtcLoader, which reads PostgreSQL's dates with time for psycopg.
#pragma once

#include <nanobind/nanobind.h>

namespace memoized_prefetch::binding {

namespace nb = nanobind;

void bind_utc_loader(nb::module_& module);

} // namespace memoized_prefetch::binding
