/// All allocations of the program, one of which may fail: standard containers, std::function and std::shared_ptr allocate
/// without an allocator of ours.
#pragma once

#include "tripwire.hpp"

#include <new>

namespace support {

using all_allocations = tripwire<struct global_new, std::bad_alloc>;

} // namespace support
