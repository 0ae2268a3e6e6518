/// logic_violation: reports that a rule of the library was broken. Throws std::logic_error; without exceptions it
/// prints the message and ends the process.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace memoized_prefetch::detail {

/// Ends the process where nothing may be thrown: in a destructor after which freed memory would be read.
[[noreturn]] MEMOIZED_PREFETCH_COLD inline void fatal(const char* what) noexcept {
    static_cast<void>(std::fprintf(stderr, "%s\n", what)); // a failure to print changes nothing: abort follows
    std::abort();
}

[[noreturn]] MEMOIZED_PREFETCH_COLD inline void logic_violation(const char* what) {
#if defined(__cpp_exceptions)
    throw std::logic_error(what);
#else
    fatal(what);
#endif
}

} // namespace memoized_prefetch::detail
