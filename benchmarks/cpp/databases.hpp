/// SQLite and PostgreSQL behind one interface (the adapters with a meter), so that a contender is written once.
#pragma once

#include <memoized_prefetch/postgresql.hpp>
#include <memoized_prefetch/sqlite.hpp>

#include <chrono>
#include <functional>

namespace mp = memoized_prefetch;

namespace databases {

/// The cost of related rows, from the keys as text to the rows as structs.
struct meter {
    std::size_t queries = 0;
    std::chrono::steady_clock::duration fetching{};
};
class metered_query {
public:
    explicit metered_query(meter& into) : m_meter(into) { ++m_meter.queries; }
    metered_query(const metered_query&) = delete;
    metered_query& operator=(const metered_query&) = delete;
    ~metered_query() { m_meter.fetching += std::chrono::steady_clock::now() - m_start; }

private:
    meter& m_meter;
    std::chrono::steady_clock::time_point m_start = std::chrono::steady_clock::now();
};

/// A fetch callback of an adapter, metered.
template <class Key, class Fetch>
class metered_fetch {
public:
    metered_fetch(meter& into, Fetch fetch) : m_meter(into), m_fetch(std::make_shared<Fetch>(std::move(fetch))) {}
    [[nodiscard]] auto operator()(std::span<const Key> keys) {
        const metered_query query(m_meter);
        return (*m_fetch)(keys);
    }

private:
    meter& m_meter;
    std::shared_ptr<Fetch> m_fetch; // std::function needs a copyable callable, and a statement is not copyable
};

class sqlite {
public:
    using row = mp::sqlite::row;
    /// Follow a column's name.
    static constexpr const char* is_key = " = ?";
    static constexpr const char* is_a_key = " in (select value from json_each(?))";
    /// A table of the keys: `value`, and `at`, which counts them from 0.
    static constexpr const char* keys = "(select key as at, value from json_each(?))";

    explicit sqlite(const std::string& file) : m_database(file) { m_database.exec("begin"); }

    [[nodiscard]] std::size_t count(const std::string& table) {
        return static_cast<std::size_t>(m_database.execAndGet("select count(*) from " + table).getInt64());
    }
    template <class Map, class KeyOf>
    [[nodiscard]] auto pages(const std::string& sql, Map map, KeyOf key_of) {
        return mp::sqlite::pages(m_database, sql, "id", std::move(map), key_of);
    }
    template <class Key, class Map>
    [[nodiscard]] auto fetch(const std::string& sql, Map map) {
        auto rows = mp::sqlite::fetch(m_database, sql, std::move(map));
        return metered_fetch<Key, decltype(rows)>(spent, std::move(rows));
    }
    template <class Source, class Target>
    [[nodiscard]] auto fetch_links(const std::string& sql) {
        auto links = mp::sqlite::fetch_links<Source, Target>(m_database, sql);
        return metered_fetch<Source, decltype(links)>(spent, std::move(links));
    }
    /// Calls `take(row)` for each row that `sql` gives for many keys.
    template <class Key>
    [[nodiscard]] auto for_keys(const std::string& sql) {
        return [this, statement = mp::sqlite::keyed_statement(m_database, sql)](std::span<const Key> asked,
                                                                                auto&& take) mutable {
            const metered_query query(spent);
            statement.run(asked, take);
        };
    }
    /// Calls `take(row)` for each row that `sql` gives for one key.
    [[nodiscard]] auto for_key(const std::string& sql) {
        return [this, statement = mp::sqlite::statement(m_database, sql)](const auto& key, auto&& take) mutable {
            const metered_query query(spent);
            auto bind = [&](SQLite::Statement& prepared) {
                if constexpr (requires { prepared.bindNoCopy(1, key); }) {
                    prepared.bindNoCopy(1, key);
                } else {
                    prepared.bind(1, key);
                }
            };
            statement.run({}, bind, take);
        };
    }

    meter spent;

private:
    SQLite::Database m_database;
};

class postgresql {
public:
    using row = mp::postgresql::row;
    static constexpr const char* is_key = " = $1";
    static constexpr const char* is_a_key = " = any($1)";
    static constexpr const char* keys =
        "(select at - 1 as at, value from unnest($1::bigint[]) with ordinality as k (value, at)) as k";

    explicit postgresql(const std::string& url) : m_connection(PQconnectdb(url.c_str()), PQfinish) {
        if (PQstatus(m_connection.get()) != CONNECTION_OK) {
            throw std::runtime_error(PQerrorMessage(m_connection.get()));
        }
        PQclear(PQexec(m_connection.get(), "begin isolation level repeatable read"));
    }

    [[nodiscard]] std::size_t count(const std::string& table) {
        std::size_t rows = 0;
        mp::postgresql::statement(m_connection.get(), "select count(*) from " + table)
            .run("", nullptr, [&](const row& only) { rows = only.get<std::size_t>(0); });
        return rows;
    }
    template <class Map, class KeyOf>
    [[nodiscard]] auto pages(const std::string& sql, Map map, KeyOf key_of) {
        return mp::postgresql::pages(m_connection.get(), sql, "id", std::move(map), key_of);
    }
    template <class Key, class Map>
    [[nodiscard]] auto fetch(const std::string& sql, Map map) {
        auto rows = mp::postgresql::fetch(m_connection.get(), sql, std::move(map));
        return metered_fetch<Key, decltype(rows)>(spent, std::move(rows));
    }
    template <class Source, class Target>
    [[nodiscard]] auto fetch_links(const std::string& sql) {
        auto links = mp::postgresql::fetch_links<Source, Target>(m_connection.get(), sql);
        return metered_fetch<Source, decltype(links)>(spent, std::move(links));
    }
    template <class Key>
    [[nodiscard]] auto for_keys(const std::string& sql) {
        return [this, statement = mp::postgresql::keyed_statement(m_connection.get(), sql)](std::span<const Key> asked,
                                                                                            auto&& take) mutable {
            const metered_query query(spent);
            statement.run(asked, take);
        };
    }
    [[nodiscard]] auto for_key(const std::string& sql) {
        return [this, statement = mp::postgresql::statement(m_connection.get(), sql)](const auto& key,
                                                                                      auto&& take) mutable {
            const metered_query query(spent);
            if constexpr (std::integral<std::remove_cvref_t<decltype(key)>>) {
                const std::string text = std::to_string(key);
                statement.run({}, &text, take);
            } else {
                statement.run({}, &key, take);
            }
        };
    }

    meter spent;

private:
    std::unique_ptr<PGconn, decltype(&PQfinish)> m_connection;
};

} // namespace databases
