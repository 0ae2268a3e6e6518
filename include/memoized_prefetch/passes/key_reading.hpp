/// key_reading: how a pass reads the keys of a chunk's objects.
///
/// A pass reaches objects through an *object model*, so that the same code serves C++ structs and Python's model
/// instances:
///   size() -> std::size_t     how many objects
///   width() -> std::size_t    how many relations to this table each object has (to_one_pass only)
///   read(i, std::span<key_reading<Key>>)    reads the keys of object i, one per relation (other passes: one key)
///   attach(i, ...)            see the passes
///
/// Call a pass's functions in the order collect, resolve, attach, commit. If an exception ends it before `commit`, the
/// tables are unchanged. A pass pins what it uses until it is destroyed.
///
/// Objects may have keys that are not loaded. `collect(objects, &deferred)` writes their numbers to `deferred`. Load
/// their keys, all at once, and call `collect_loaded` before `resolve`.
///
/// `resolve` calls the sources. A caller that runs the queries itself calls three steps instead: `missing` returns the
/// keys to fetch, `take` takes each fetched row, and `admit` ends the fetch.
#pragma once

#include <memoized_prefetch/detail/compiler.hpp>
#include <memoized_prefetch/detail/logic_violation.hpp>
#include <memoized_prefetch/tables/key_index.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch {

enum class key_state : std::uint8_t {
    null,     ///< the object has no key: no row is attached
    present,  ///< the object has a key
    attached, ///< the relation was attached before: the object is skipped
    deferred, ///< the key is not loaded
};

template <class Key>
struct key_reading {
    key_state state = key_state::null;
    Key key{};
};

namespace detail {

inline constexpr slot_id null_slot = no_slot - 1; // in place of a position: the object's key is null

/// Converts without narrowing: a narrower integer can be a key, a floating-point number cannot.
template <class Given, class Key>
concept converts_to_key = std::same_as<std::remove_cvref_t<Given>, Key> || requires(Given&& given) {
    Key{std::forward<Given>(given)};
};
template <class Given, class Key>
concept gives_key = converts_to_key<Given, Key> || requires(Given&& given) {
    {static_cast<bool>(given)};
    { *std::forward<Given>(given) } -> converts_to_key<Key>;
};
template <class Keys, class Key>
inline constexpr bool range_of_keys = false;
template <std::ranges::forward_range Keys, class Key>
inline constexpr bool range_of_keys<Keys, Key> = gives_key<std::ranges::range_reference_t<Keys>, Key>;
/// The key that a callable returned, as a value or an optional.
template <class Key, class Given>
[[nodiscard]] key_reading<Key> reading_of(Given&& given) {
    if constexpr (converts_to_key<Given, Key>) {
        return {key_state::present, Key(std::forward<Given>(given))};
    } else {
        return given ? key_reading<Key>{key_state::present, Key(*std::forward<Given>(given))} : key_reading<Key>{};
    }
}

/// The numbers of `count` objects. std::views::iota does the same, but clang 14 refuses it with libstdc++.
struct all_of {
    struct iterator {
        std::size_t number;
        [[nodiscard]] std::size_t operator*() const noexcept { return number; }
        iterator& operator++() noexcept {
            ++number;
            return *this;
        }
        [[nodiscard]] bool operator!=(const iterator& other) const noexcept { return number != other.number; }
    };
    std::size_t count;

    [[nodiscard]] static iterator begin() noexcept { return {0}; }
    [[nodiscard]] iterator end() const noexcept { return {count}; }
};

/// Reads the keys of some objects. Calls `take(object, relation, reading)`.
/// `which`: the numbers of these objects.
/// `deferred`: gets the numbers of objects with a key that is not loaded. Null: such a key is an error.
template <class Key, class Allocator, class Objects, class Numbers, class Deferred, class Take>
MEMOIZED_PREFETCH_ALWAYS_INLINE void read_keys(Objects& objects, std::size_t width, const Numbers& which,
                                               Deferred* deferred, Take&& take) {
    using reading = key_reading<Key>;
    std::array<reading, 8> few_readings; // the usual widths, without an allocation
    std::vector<reading, typename std::allocator_traits<Allocator>::template rebind_alloc<reading>> many_readings(
        width <= few_readings.size() ? 0 : width);
    const std::span<reading> readings =
        width <= few_readings.size() ? std::span(few_readings).first(width) : std::span(many_readings);
    const auto put_off = [&](std::size_t object) {
        if (deferred == nullptr) {
            logic_violation("memoized_prefetch: a deferred key was not loaded");
        }
        deferred->push_back(object);
    };
    if (width == 1) { // skipping the loops over relations takes 27 instructions instead of 66
        for (const std::size_t object : which) {
            objects.read(object, std::span(few_readings).first(1));
            if (few_readings[0].state == key_state::deferred) [[unlikely]] {
                put_off(object);
            } else {
                take(object, 0, few_readings[0]);
            }
        }
        return;
    }
    for (const std::size_t object : which) {
        objects.read(object, readings);
        bool all_loaded = true;
        for (const reading& one : readings) {
            all_loaded = all_loaded && one.state != key_state::deferred;
        }
        if (!all_loaded) {
            put_off(object);
            continue;
        }
        for (std::size_t relation = 0; relation < width; ++relation) {
            take(object, relation, readings[relation]);
        }
    }
}

/// The same for objects with one key each. Adds the keys to a key_set and writes each object's position in it:
/// `null_slot` if the key is null, `no_slot` if the object is skipped. Returns how many keys the objects asked for.
template <class Key, class Allocator, class Objects, class Numbers, class Deferred, class Keys, class Positions>
std::uint64_t collect_keys(Objects& objects, const Numbers& which, Deferred* deferred, Keys& keys,
                           Positions& positions) {
    std::uint64_t requests = 0;
    positions.resize(objects.size(), no_slot);
    keys.reserve(objects.size());
    read_keys<Key, Allocator>(objects, 1, which, deferred,
                              [&](std::size_t object, std::size_t, key_reading<Key>& reading) {
                                  if (reading.state == key_state::present) {
                                      positions[object] = keys.add(std::move(reading.key));
                                      ++requests;
                                  } else if (reading.state == key_state::null) {
                                      positions[object] = null_slot;
                                  }
                              });
    return requests;
}

} // namespace detail

} // namespace memoized_prefetch
