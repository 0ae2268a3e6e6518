/// Lets any allocation of the program fail. Needed because standard containers, std::function and std::shared_ptr do
/// not allocate by our allocators.
#pragma once

#include "tripwire.hpp"

#include <new>

namespace support {

using all_allocations = tripwire<struct global_new, std::bad_alloc>;

} // namespace support
