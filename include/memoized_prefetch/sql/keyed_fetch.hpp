/// keyed_fetch: what the adapters of all databases share: fetch callbacks and pages over an adapter's statements.
///
/// An adapter provides a movable `Statement`, constructed from a connection and SQL, with
///   row_type                                     what mappers take
///   parameter                                    the first parameter as written in SQL: "?"
///   run_page(const Key* after, take)             calls take(const row_type&) per row; `after`: the parameter or null
/// and a `Keyed`, a statement with the keys as its only parameter, with row_type and `run(std::span<const Key>, take)`.
#pragma once

#include <memoized_prefetch/detail/page_range.hpp>
#include <memoized_prefetch/sql/key_list.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch::detail {

/// A memo's fetch callback.
template <class Keyed, class Map>
class row_fetch {
public:
    using row_type = page_row<Map, typename Keyed::row_type>;

    row_fetch(Keyed statement, Map map) : m_statement(std::move(statement)), m_map(std::move(map)) {}
    template <sql_key Key>
    [[nodiscard]] std::vector<row_type> operator()(std::span<const Key> keys) {
        std::vector<row_type> rows;
        rows.reserve(keys.size());
        m_statement.run(keys, [&](const auto& current) { rows.push_back(std::invoke(m_map, current)); });
        return rows;
    }

private:
    Keyed m_statement;
    Map m_map;
};

/// A links' fetch callback.
template <class Keyed, sql_key Source, sql_key Target>
class link_fetch {
public:
    explicit link_fetch(Keyed statement) : m_statement(std::move(statement)) {}
    [[nodiscard]] std::vector<std::pair<Source, Target>> operator()(std::span<const Source> sources) {
        std::vector<std::pair<Source, Target>> links;
        m_statement.run(sources, [&](const auto& current) {
            links.emplace_back(current.template get<Source>(0), current.template get<Target>(1));
        });
        return links;
    }

private:
    Keyed m_statement;
};

/// The rows of `sql` in pages; see `pages` of the adapters.
template <class Statement, class Connection, class Map, class KeyOf>
[[nodiscard]] auto pages_of(Connection& connection, const std::string& sql, const std::string& key, Map map,
                            KeyOf key_of, std::size_t size,
                            std::optional<page_key<Map, typename Statement::row_type, KeyOf>> start) {
    using source = typename Statement::row_type;
    using row_type = page_row<Map, source>;
    using key_type = page_key<Map, source, KeyOf>;
    static_assert(sql_key<key_type>, "memoized_prefetch: pages are ordered by an integer, a std::string or a uuid");
    const std::string select = "select * from (" + sql + ") as page";
    const std::string end = " order by " + key + " limit " + std::to_string(size);
    auto read = [first = Statement(connection, select + end),
                 next = Statement(connection, select + " where " + key + " > " + Statement::parameter + end),
                 map = std::move(map)](const key_type* after, std::vector<row_type>& page) mutable {
        (after == nullptr ? first : next).run_page(after, [&](const source& current) {
            page.push_back(std::invoke(map, current));
        });
    };
    return page_range<row_type, key_type, KeyOf, decltype(read)>(std::move(read), std::move(key_of), size,
                                                                 std::move(start));
}

} // namespace memoized_prefetch::detail
