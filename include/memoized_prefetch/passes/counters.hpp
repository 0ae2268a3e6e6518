/// What one relation did since it was made. Plain numbers, added up; nothing here is ever reset by the engine.
#pragma once

#include <cstdint>

namespace memoized_prefetch {

struct counters {
    std::uint64_t requests = 0; ///< keys that objects asked for; null keys and relations attached before do not ask
    std::uint64_t hits = 0;     ///< distinct keys per chunk that memory answered, known missing ones included
    std::uint64_t misses = 0;   ///< distinct keys per chunk that had to be fetched
    std::uint64_t fetched = 0;  ///< rows that a fetch gave and that were asked for
    std::uint64_t missing = 0;  ///< keys fetched for which there is no row
    std::uint64_t evicted = 0;  ///< entries that gave way when a chunk of this relation ended
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
