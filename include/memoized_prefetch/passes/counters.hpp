/// counters: what one relation has done so far. The engine only adds to these numbers and never resets them.
#pragma once

#include <cstdint>

namespace memoized_prefetch {

/// What one relation has done so far.
struct counters {
    std::uint64_t requests = 0; ///< keys that objects asked for; null keys and relations already attached do not count
    std::uint64_t hits = 0;     ///< distinct keys per chunk that memory answered, with a row or as known to be missing
    std::uint64_t misses = 0;   ///< distinct keys per chunk that had to be fetched
    std::uint64_t fetched = 0;  ///< rows asked for that a fetch returned
    std::uint64_t missing = 0;  ///< fetched keys that have no row
    std::uint64_t evicted = 0;  ///< entries evicted when a chunk of this relation ended
    std::uint64_t queries = 0;  ///< statements sent to the database

    counters& operator+=(const counters& other) noexcept {
        requests += other.requests;
        hits += other.hits;
        misses += other.misses;
        fetched += other.fetched;
        missing += other.missing;
        evicted += other.evicted;
        queries += other.queries;
        return *this;
    }
};

} // namespace memoized_prefetch
