/// Key traits that count calls and may throw. Their equality may run any code, like Python's `__eq__`.
#pragma once

#include "tripwire.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace support {

template <class Key>
struct watched_traits {
    inline static thread_local std::uint64_t hashes = 0;
    inline static thread_local std::uint64_t comparisons = 0;
    /// Runs within the next comparison, once.
    inline static thread_local std::function<void()> on_equal;
    /// All keys hash alike, so that every search compares.
    inline static thread_local bool collide = false;

    static std::uint64_t hash(const Key& key) {
        ++hashes;
        user_calls::step();
        return collide ? 0 : static_cast<std::uint64_t>(std::hash<Key>{}(key));
    }
    static bool equal(const Key& stored, const Key& asked) {
        ++comparisons;
        user_calls::step();
        const bool same = stored == asked; // before anything can move `stored`
        if (on_equal) {
            std::exchange(on_equal, nullptr)();
        }
        return same;
    }
};

} // namespace support
