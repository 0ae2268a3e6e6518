/// What happens when a rule of the library is broken: an exception, or without exceptions an end with the message.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace memoized_prefetch::detail {

/// Where nothing may be thrown: a destructor found that what follows would read freed memory.
[[noreturn, gnu::cold, gnu::noinline]] inline void fatal(const char* what) noexcept {
    static_cast<void>(std::fprintf(stderr, "%s\n", what)); // what fails here is on its way to abort
    std::abort();
}

[[noreturn, gnu::cold, gnu::noinline]] inline void logic_violation(const char* what) {
#if defined(__cpp_exceptions)
    throw std::logic_error(what);
#else
    fatal(what);
#endif
}

} // namespace memoized_prefetch::detail
