/// bit_words: an array of bits in words of 64, as functions over any container of words.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace memoized_prefetch::detail {

using word = std::uint64_t;
inline constexpr std::size_t word_bits = 64;

[[nodiscard]] inline word bit_of(std::size_t place) noexcept { return word{1} << (place % word_bits); }

template <class Words>
void set_bit(Words& words, std::size_t place) noexcept {
    words[place / word_bits] |= bit_of(place);
}
template <class Words>
void clear_bit(Words& words, std::size_t place) noexcept {
    words[place / word_bits] &= ~bit_of(place);
}
template <class Words>
[[nodiscard]] bool has_bit(const Words& words, std::size_t place) noexcept {
    return (words[place / word_bits] & bit_of(place)) != 0;
}

/// Calls `visit(place)` for every bit that is set in `bits`, the word number `at`.
template <class Visit>
void visit_bits(std::size_t at, word bits, Visit&& visit) {
    for (; bits != 0; bits &= bits - 1) {
        visit(static_cast<std::uint32_t>(at * word_bits) + static_cast<std::uint32_t>(std::countr_zero(bits)));
    }
}
/// The same for every word.
template <class Words, class Visit>
void visit_bits(const Words& words, Visit&& visit) {
    for (std::size_t at = 0; at < words.size(); ++at) {
        visit_bits(at, words[at], visit);
    }
}

/// The number of bits that are set.
[[nodiscard]] inline std::uint32_t ones(word bits) noexcept {
#ifdef __POPCNT__
    return static_cast<std::uint32_t>(std::popcount(bits));
#else // without the instruction, std::popcount would be a function call
    bits -= bits >> 1U & 0x5555'5555'5555'5555U;
    bits = (bits & 0x3333'3333'3333'3333U) + (bits >> 2U & 0x3333'3333'3333'3333U);
    bits = (bits + (bits >> 4U)) & 0x0F0F'0F0F'0F0F'0F0FU;
    return static_cast<std::uint32_t>(bits * 0x0101'0101'0101'0101U >> 56U);
#endif
}

} // namespace memoized_prefetch::detail
