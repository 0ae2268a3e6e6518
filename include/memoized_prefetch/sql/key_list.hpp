/// \file
/// key_list: any number of keys as one parameter of a statement, so that the statement is prepared only once:
///
///     SQLite:      where id in (select value from json_each(?))     json_array(keys)      [1,2]  ["a","b"]
///     PostgreSQL:  where id = any($1)                               array_literal(keys)   {1,2}  {"a","b"}
///
/// The adapters use these functions, and your callbacks over other clients can too. O(length of the text).
/// They throw std::logic_error if a key contains a NUL character.
#pragma once

#include <memoized_prefetch/detail/logic_violation.hpp>
#include <memoized_prefetch/sql/uuid.hpp>

#include <charconv>
#include <concepts>
#include <limits>
#include <span>

namespace memoized_prefetch {

/// The types of keys that an adapter can send: integers, text, UUIDs.
template <class Key>
concept sql_key =
    (std::integral<Key> && !std::same_as<Key, bool>) || std::same_as<Key, std::string> || std::same_as<Key, uuid>;

namespace detail {

/// `quote` appends a text to the list as a quoted element.
template <sql_key Key, class Quote>
[[nodiscard]] std::string joined(std::span<const Key> keys, char first, char last, Quote quote) {
    std::string list(1, first);
    for (const Key& key : keys) {
        if (list.size() > 1) {
            list += ',';
        }
        if constexpr (std::integral<Key>) {
            std::array<char, std::numeric_limits<Key>::digits10 + 3>
                digits; // NOLINT(*-member-init): written before read
            const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), key).ptr;
            // Not append(first, last): in C++23 with clang 14, libstdc++ 12 then copies the whole list, which takes
            // 20 s for 100,000 keys.
            list.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
        } else if constexpr (std::same_as<Key, uuid>) {
            quote(list, key.text());
        } else {
            // SQLite's JSON would end the text at the NUL, and the row would be remembered as missing. PostgreSQL
            // cannot store such a text.
            if (key.find('\0') != std::string::npos) {
                logic_violation("memoized_prefetch: a key must not contain a NUL character");
            }
            quote(list, key);
        }
    }
    return list += last;
}

} // namespace detail

/// A JSON array. UUIDs are written with hyphens; for a column of 32 digits use
/// `select replace(value, '-', '') from json_each(?)`.
template <sql_key Key>
[[nodiscard]] std::string json_array(std::span<const Key> keys) {
    return detail::joined(keys, '[', ']', [](std::string& list, const std::string& text) {
        constexpr std::string_view digits = "0123456789abcdef";
        list += '"';
        for (const char c : text) {
            if (c == '"' || c == '\\') {
                list += '\\';
                list += c;
            } else if (static_cast<unsigned char>(c) < 0x20) {
                list += "\\u00";
                list += digits[static_cast<unsigned char>(c) / 16];
                list += digits[static_cast<unsigned char>(c) % 16];
            } else {
                list += c;
            }
        }
        list += '"';
    });
}

/// A PostgreSQL array in its text form. The server infers its type from the statement.
template <sql_key Key>
[[nodiscard]] std::string array_literal(std::span<const Key> keys) {
    return detail::joined(keys, '{', '}', [](std::string& list, const std::string& text) {
        list += '"';
        for (const char c : text) {
            if (c == '"' || c == '\\') {
                list += '\\';
            }
            list += c;
        }
        list += '"';
    });
}

} // namespace memoized_prefetch
