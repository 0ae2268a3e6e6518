/// key_counts: counts a chunk's keys by relation. If several relations ask for one key, it counts for the first one.
///
/// `first_relations`: by key, the relation that asked first. Keys beyond its end count for relation 0, so that it stays
/// empty while there is only one relation.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>
#include <memoized_prefetch/tables/key_index.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace memoized_prefetch::detail {

/// Records which relation asked first for each of the `size` keys but the first `known`. `positions`: the keys just
/// asked for. `relations`: one per key asked for, or one for all.
template <class Array>
void note_relations(Array& first_relations, std::size_t known, std::size_t size,
                    std::span<const std::uint32_t> relations, std::span<slot_id* const> positions) {
    std::uint32_t any = 0;
    for (const std::uint32_t relation : relations) {
        any |= relation;
    }
    if (any == 0 && first_relations.empty()) {
        return;
    }
    constexpr std::uint32_t nobody = ~0U;
    first_relations.resize(known, 0);
    first_relations.resize(size, nobody);
    for (std::size_t at = 0; at < positions.size(); ++at) {
        std::uint32_t& first = first_relations[*positions[at]];
        first = first == nobody ? relations[relations.size() == 1 ? 0 : at] : first;
    }
}

/// Counts `size` keys by relation: those in `fetched` as misses, with or without a row, all others as hits.
template <class Array, class HasRow>
void count_keys(const Array& first_relations, std::size_t size, std::span<const slot_id> fetched, HasRow&& has_row,
                std::span<counters> count) noexcept {
    count[0].hits += size - first_relations.size();
    for (std::size_t at = 0; at < first_relations.size();) {
        const std::uint32_t relation = first_relations[at];
        const std::size_t first = at;
        while (at < first_relations.size() && first_relations[at] == relation) {
            ++at;
        }
        count[relation].hits += at - first;
    }
    for (const slot_id position : fetched) {
        counters& relation = count[position < first_relations.size() ? first_relations[position] : 0];
        --relation.hits;
        ++relation.misses;
        ++(has_row(position) ? relation.fetched : relation.missing);
    }
}

} // namespace memoized_prefetch::detail
