/// zipf, uniform: a stream of keys in memory, and a large table.
#pragma once

#include "../by_hand.hpp"
#include "../rows.hpp"
#include "queries.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace workloads {

inline constexpr std::size_t chunk_size = 2'000;

class Basket {
public:
    template <class Some>
    void add(const std::vector<Some>& chunk) {
        for (const Some& item : chunk) {
            const Related& row = *item.related;
            const double price = row.price * row.quantity - row.discount.value_or(0);
            const std::size_t length = row.code.size() + 3 * row.name.size() + 5 * (row.note ? row.note->size() : 1);
            m_sum += static_cast<std::uint64_t>(row.id + row.parent.value_or(7) + row.created + (row.active ? 13 : 0));
            m_sum = 31 * m_sum + length + static_cast<std::uint64_t>(static_cast<std::int64_t>(price));
        }
    }
    [[nodiscard]] std::uint64_t checksum() const { return m_sum; }

private:
    std::uint64_t m_sum = 0;
};

/// Calls `resolve(chunk)` for every chunk of the stream, and does the job.
template <template <class> class To, class Resolve>
std::uint64_t baskets(const std::vector<std::uint32_t>& keys, Resolve&& resolve) {
    Basket basket;
    std::vector<Item<To>> chunk;
    for (std::size_t first = 0; first < keys.size(); first += chunk_size) {
        chunk.clear();
        for (std::size_t at = first; at < std::min(keys.size(), first + chunk_size); ++at) {
            chunk.push_back({keys[at]});
        }
        resolve(chunk);
        basket.add(chunk);
    }
    return basket.checksum();
}

template <class Database>
std::uint64_t stream_one(Database& database, const std::vector<std::uint32_t>& keys) {
    auto ask = one<Related>(database);
    one_query_per_row<Related> rows;
    return baskets<pointer>(keys, [&](std::vector<Item<pointer>>& chunk) {
        rows.attach(chunk, &Item<pointer>::related_id, &Item<pointer>::related, ask);
    });
}

/// The objects are not in a table, so the keys of a chunk are joined.
template <class Database>
std::uint64_t stream_join(Database& database, const std::vector<std::uint32_t>& keys) {
    auto ask = database.template for_keys<std::int64_t>(
        "select at, id, code, name, note, price, discount, quantity, parent, active, created from " +
        std::string(Database::keys) + " left join related on id = value");
    std::vector<std::int64_t> asked;
    return baskets<std::optional>(keys, [&](std::vector<Item<std::optional>>& chunk) {
        asked.clear();
        for (const auto& item : chunk) {
            asked.push_back(item.related_id);
        }
        ask(asked, [&](const typename Database::row& from) {
            chunk[from.template get<std::size_t>(0)].related = joined<Related>(from, 1);
        });
    });
}

template <template <class> class Rows, class Database>
std::uint64_t stream_in(Database& database, const std::vector<std::uint32_t>& keys) {
    lookup<Related, Rows> rows(fetch<Related>(database));
    return baskets<pointer>(keys, [&](std::vector<Item<pointer>>& chunk) {
        rows.attach(chunk, &Item<pointer>::related_id, &Item<pointer>::related);
    });
}

template <class Database>
std::uint64_t stream_memo(Database& database, const std::vector<std::uint32_t>& keys, std::size_t entries) {
    mp::memo rows{&Related::id, fetch<Related>(database), {.entries = entries}};
    mp::prefetcher<Item<shared>> relations{mp::to_one(rows, &Item<shared>::related_id, &Item<shared>::related)};
    return baskets<shared>(keys, [&](std::vector<Item<shared>>& chunk) { relations.process_chunk(chunk); });
}

} // namespace workloads
