#include "chunk.hpp"
#include "hydrate.hpp"

namespace binding = memoized_prefetch::binding;

NB_MODULE(_engine, module) {
    module.doc() = "The C++ engine of django_memoized_prefetch. Private: may change in any release.";
    // What a program still holds when it ends is no leak; the tests count references themselves.
    nanobind::set_leak_warnings(false);
    binding::intern_names();
    binding::find_uuid_class();
    binding::bind_tables(module);
    binding::bind_relations(module);
    binding::bind_chunk(module);
    binding::bind_hydrate(module);
}
