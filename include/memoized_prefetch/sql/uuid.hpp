/// uuid: a UUID as a key. It takes 16 bytes; its text would take 36 characters on the heap.
#pragma once

#include <memoized_prefetch/tables/key_traits.hpp>

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace memoized_prefetch {

/// A UUID as a key, ordered by its bytes.
struct uuid {
    /// In the order in which they are written.
    std::array<std::uint8_t, 16> bytes = {};

    /// Parses 32 hexadecimal digits of either case. Hyphens are ignored. Returns nullopt for any other text.
    [[nodiscard]] static std::optional<uuid> parse(std::string_view text) noexcept {
        uuid result;
        std::size_t digits = 0;
        for (const char c : text) {
            if (c == '-') {
                continue;
            }
            const int value = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (value < 0 || digits == 32) {
                return std::nullopt;
            }
            std::uint8_t& byte = result.bytes[digits++ / 2];
            byte = static_cast<std::uint8_t>(byte * 16 + value);
        }
        return digits == 32 ? std::optional(result) : std::nullopt;
    }
    /// In the usual form: lower case, 8-4-4-4-12 digits.
    [[nodiscard]] std::string text() const {
        constexpr std::string_view digits = "0123456789abcdef";
        std::string result;
        result.reserve(36);
        for (std::size_t at = 0; at < bytes.size(); ++at) {
            if (at == 4 || at == 6 || at == 8 || at == 10) {
                result += '-';
            }
            result += digits[bytes[at] / 16];
            result += digits[bytes[at] % 16];
        }
        return result;
    }

    friend constexpr bool operator==(const uuid&, const uuid&) noexcept = default;
    // Not defaulted: libc++ 14 has no `<=>` for arrays.
    friend constexpr std::strong_ordering operator<=>(const uuid& left, const uuid& right) noexcept {
        if (left.bytes == right.bytes) {
            return std::strong_ordering::equal;
        }
        return left.bytes < right.bytes ? std::strong_ordering::less : std::strong_ordering::greater;
    }
};

template <>
struct key_traits<uuid> {
    // Uses both halves: UUIDs that start with a timestamp differ mostly at the end.
    static std::uint64_t hash(const uuid& key) noexcept {
        const auto halves = std::bit_cast<std::array<std::uint64_t, 2>>(key.bytes);
        return halves[0] * 0x9E3779B97F4A7C15U ^ std::rotl(halves[1], 32);
    }
    static bool equal(const uuid& stored, const uuid& asked) noexcept { return stored == asked; }
};

} // namespace memoized_prefetch
