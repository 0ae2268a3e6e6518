/// Related rows by hand, as programs get them without this library. Each `attach` sets a member of a chunk's objects to
/// the row with their key, or to null. The rows live at least until the next chunk.
#pragma once

#include "rows.hpp"

#include <memoized_prefetch/tables/key_set.hpp>

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace mp = memoized_prefetch;

namespace by_hand {

template <class Key>
const Key* known(const Key& key) {
    return &key;
}
template <class Key>
const Key* known(const std::optional<Key>& key) {
    return key ? &*key : nullptr;
}

/// A query for each object. Keys are not compared.
template <class Row>
class one_query_per_row {
public:
    template <class Object, class Key, class Ask>
    void attach(std::vector<Object>& chunk, Key Object::*key_of, const Row* Object::*to, Ask&& ask) {
        m_rows.clear();
        for (Object& object : chunk) {
            object.*to = nullptr;
            if (const auto* key = known(object.*key_of)) {
                ask(*key, [&](const auto& from) { object.*to = &m_rows.emplace_back(table<Row>::read(from)); });
            }
        }
    }
    [[nodiscard]] std::deque<Row>& rows() noexcept { return m_rows; }

private:
    std::deque<Row> m_rows;
};

template <class Row>
using fetch = std::function<std::vector<Row>(std::span<const key_of_row<Row>>)>;
template <class Row>
using distinct_keys = mp::key_set<key_of_row<Row>>;

/// The rows of the chunk's keys, forgotten at the next chunk.
template <class Row>
class rows_of_chunk {
public:
    explicit rows_of_chunk(fetch<Row> fetch_rows) : m_fetch(std::move(fetch_rows)) {}
    void find(const distinct_keys<Row>& keys, std::vector<const Row*>& found) {
        if (keys.size() == 0) {
            return;
        }
        m_rows = m_fetch(keys.keys());
        for (const Row& row : m_rows) {
            found[keys.find(row.*table<Row>::key_of)] = &row;
        }
    }

private:
    fetch<Row> m_fetch;
    std::vector<Row> m_rows;
};

/// All rows that were ever asked for.
template <class Row>
class rows_ever_seen {
public:
    explicit rows_ever_seen(fetch<Row> fetch_rows) : m_fetch(std::move(fetch_rows)) {}
    void find(const distinct_keys<Row>& keys, std::vector<const Row*>& found) {
        m_missed.clear();
        for (mp::slot_id position = 0; position < keys.size(); ++position) {
            const auto [at, is_new] = m_by_key.try_emplace(keys[position], nullptr);
            found[position] = at->second;
            if (is_new) {
                m_missed.push_back(keys[position]);
            }
        }
        if (m_missed.empty()) {
            return;
        }
        for (Row& fresh : m_fetch(m_missed)) {
            const Row& row = m_rows.emplace_back(std::move(fresh));
            m_by_key[row.*table<Row>::key_of] = &row;
            found[keys.find(row.*table<Row>::key_of)] = &row;
        }
    }

private:
    fetch<Row> m_fetch;
    std::deque<Row> m_rows;
    absl::flat_hash_map<key_of_row<Row>, const Row*> m_by_key; // null: there is no such row
    std::vector<key_of_row<Row>> m_missed;
};

/// Finds a chunk's distinct keys, looks up their rows, and attaches these: the same for both of the above.
template <class Row, template <class> class Rows>
class lookup {
public:
    explicit lookup(fetch<Row> fetch_rows) : m_rows(std::move(fetch_rows)) {}
    template <class Object, class Key>
    void attach(std::vector<Object>& chunk, Key Object::*key_of, const Row* Object::*to) {
        m_keys.clear();
        m_keys.reserve(chunk.size());
        m_positions.clear();
        for (const Object& object : chunk) {
            const auto* const key = known(object.*key_of);
            m_positions.push_back(key == nullptr ? mp::no_slot : m_keys.add(*key));
        }
        m_found.assign(m_keys.size(), nullptr);
        m_rows.find(m_keys, m_found);
        for (std::size_t at = 0; at < chunk.size(); ++at) {
            chunk[at].*to = m_positions[at] == mp::no_slot ? nullptr : m_found[m_positions[at]];
        }
    }

private:
    Rows<Row> m_rows;
    distinct_keys<Row> m_keys;
    std::vector<mp::slot_id> m_positions;
    std::vector<const Row*> m_found;
};

} // namespace by_hand
