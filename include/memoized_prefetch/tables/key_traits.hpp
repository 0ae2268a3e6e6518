/// How the tables hash and compare keys. Specialise `key_traits`, or pass another type with the same two functions.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>

namespace memoized_prefetch {

template <class Key>
struct key_traits {
    static std::uint64_t hash(const Key& key) requires requires { std::hash<Key>{}(key); }
    { return static_cast<std::uint64_t>(std::hash<Key>{}(key)); }
    /// `stored` lies in a table: code that can change tables must not touch it after that code has run. One that is `noexcept`
    /// does not run such code.
    static bool equal(const Key& stored, const Key& asked) noexcept(noexcept(stored == asked)) requires requires {
        stored == asked;
    }
    { return stored == asked; }
};

/// A key that the library can find again: default-constructible, copyable, and known to `key_traits` or the traits given.
template <class Key, class Traits = key_traits<Key>>
concept memo_key = std::semiregular<Key> && requires(const Key& key) {
    { Traits::hash(key) } -> std::convertible_to<std::uint64_t>;
    { Traits::equal(key, key) } -> std::convertible_to<bool>;
};

} // namespace memoized_prefetch
