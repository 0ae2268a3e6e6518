/// compiler: what GCC, clang and MSVC spell differently. Other compilers get the same code without the hints.
#pragma once

/// MEMOIZED_PREFETCH_ALWAYS_INLINE replaces `inline`. The others go before a function; COLD is one that rarely runs.
#if defined(__GNUC__) || defined(__clang__)
#define MEMOIZED_PREFETCH_ALWAYS_INLINE [[gnu::always_inline]] inline
#define MEMOIZED_PREFETCH_NOINLINE [[gnu::noinline]]
#define MEMOIZED_PREFETCH_COLD [[gnu::cold, gnu::noinline]]
#elif defined(_MSC_VER)
#define MEMOIZED_PREFETCH_ALWAYS_INLINE __forceinline
#define MEMOIZED_PREFETCH_NOINLINE __declspec(noinline)
#define MEMOIZED_PREFETCH_COLD __declspec(noinline)
#else
#define MEMOIZED_PREFETCH_ALWAYS_INLINE inline
#define MEMOIZED_PREFETCH_NOINLINE
#define MEMOIZED_PREFETCH_COLD
#endif

namespace memoized_prefetch::detail {

/// Start to load the cache line at an address, which may be any. MSVC has no such function for all processors; there
/// these two do nothing.
MEMOIZED_PREFETCH_ALWAYS_INLINE void prefetch_to_read([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address);
#endif
}
MEMOIZED_PREFETCH_ALWAYS_INLINE void prefetch_to_write([[maybe_unused]] const void* address) noexcept {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address, 1);
#endif
}

} // namespace memoized_prefetch::detail
