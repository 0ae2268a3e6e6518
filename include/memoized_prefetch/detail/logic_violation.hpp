/// logic_violation: what happens if a rule of the library is broken. It throws std::logic_error; without exceptions it
/// ends the process with the message.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace memoized_prefetch::detail {

/// Ends the process where nothing may be thrown: a destructor found that somebody would go on to read freed memory.
[[noreturn, gnu::cold, gnu::noinline]] inline void fatal(const char* what) noexcept {
    static_cast<void>(std::fprintf(stderr, "%s\n", what)); // a failure to print changes nothing: abort follows
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
