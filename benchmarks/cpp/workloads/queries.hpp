/// How the contenders of all workloads ask for rows by key, and read them.
#pragma once

#include "../by_hand.hpp"
#include "../rows.hpp"

#include <optional>
#include <string>

namespace workloads {

using by_hand::lookup;
using by_hand::one_query_per_row;
using by_hand::table;

template <class Row, class Database>
auto fetch(Database& database) {
    using row = typename Database::row;
    return database.template fetch<by_hand::key_of_row<Row>>(table<Row>::select + std::string(Database::is_a_key),
                                                             [](const row& from) { return table<Row>::read(from); });
}
template <class Row, class Database>
auto one(Database& database) {
    return database.for_key(table<Row>::select + std::string(Database::is_key));
}
/// A row of a LEFT JOIN. Its key is in the column `at`.
template <class Row, class From>
std::optional<Row> joined(const From& from, int at) {
    if (!from.template get<std::optional<by_hand::key_of_row<Row>>>(at)) {
        return std::nullopt;
    }
    return table<Row>::read(from, at);
}

} // namespace workloads
