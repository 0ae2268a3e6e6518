/// key_traits: how tables hash and compare keys. Specialise it, or pass another type with the same two functions.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>

namespace memoized_prefetch {

/// How tables hash and compare keys. Specialise it for keys without `std::hash`.
template <class Key>
struct key_traits {
    /// A number that equal keys share.
    static std::uint64_t hash(const Key& key) requires requires { std::hash<Key>{}(key); }
    { return static_cast<std::uint64_t>(std::hash<Key>{}(key)); }
    /// `stored` lies in a table. If the comparison runs code that may change tables, do not touch `stored` after that.
    /// By being `noexcept`, the function promises not to run such code.
    static bool equal(const Key& stored, const Key& asked) noexcept(noexcept(stored == asked)) requires requires {
        stored == asked;
    }
    { return stored == asked; }
};

/// A type that can be a key: default-constructible, copyable, and known to `key_traits` or the given traits.
template <class Key, class Traits = key_traits<Key>>
concept memo_key = std::semiregular<Key> && requires(const Key& key) {
    { Traits::hash(key) } -> std::convertible_to<std::uint64_t>;
    { Traits::equal(key, key) } -> std::convertible_to<bool>;
};

} // namespace memoized_prefetch
