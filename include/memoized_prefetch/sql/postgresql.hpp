/// \file
/// Fetch callbacks over PostgreSQL, using libpq (link pq).
///
///     mp::memo authors{&Author::id,
///                      mp::postgresql::fetch(connection, "select id, name from author where id = any($1)",
///                                            [](const mp::postgresql::row& row) {
///                                                return Author{row.get<std::int64_t>(0), row.get<std::string>(1)};
///                                            })};
///
/// All keys are sent as one array parameter, so a statement is prepared once, when the callback is constructed. Keys
/// are integers, `std::string` or `uuid`. The `PGconn*` must outlive the callback; use it from one thread at a time.
/// Fetches run in the transaction that is open on the connection, or else each in its own.
/// Failures throw `postgresql::error` with the SQLSTATE. Its text ends with the statement and the number of keys. Needs
/// exceptions.
///
/// Why libpq and not libpqxx: a libpqxx connection has one transaction object at a time, which every fetch would need,
/// and it differs between versions 6 and 7. libpq is below every client and has long been stable. A callback over
/// libpqxx is short: its parameter is `array_literal(keys)` of key_list.hpp.
#pragma once

#include <memoized_prefetch/sql/keyed_fetch.hpp>

#include <libpq-fe.h>

#include <atomic>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace memoized_prefetch::postgresql {

/// An error of the server or the connection, or a value that could not be read as the type asked for.
class error : public std::runtime_error {
public:
    error(const std::string& what, std::string sqlstate) : std::runtime_error(what), m_sqlstate(std::move(sqlstate)) {}
    /// Five characters; empty if the error does not come from the server.
    [[nodiscard]] const std::string& sqlstate() const noexcept { return m_sqlstate; }

private:
    std::string m_sqlstate;
};

/// A row of a result, as mappers see it. Valid until the mapper returns.
class row {
public:
    row(const PGresult& result, int number) noexcept : m_result(&result), m_number(number) {}

    /// `Value`: an integer, `bool`, a floating-point type, `std::string`, `std::string_view` (into the result), `uuid`,
    /// or a `std::optional` of these for a column that may be null. `column` counts from 0.
    template <class Value>
    [[nodiscard]] Value get(int column) const {
        if (column < 0 || column >= PQnfields(m_result)) {
            throw error("there is no column " + std::to_string(column), "");
        }
        return read(column, static_cast<Value*>(nullptr));
    }

private:
    template <class Value>
    std::optional<Value> read(int column, std::optional<Value>*) const {
        return PQgetisnull(m_result, m_number, column) != 0 ? std::nullopt
                                                            : std::optional(read(column, static_cast<Value*>(nullptr)));
    }
    template <class Value>
    Value read(int column, Value*) const {
        if (PQgetisnull(m_result, m_number, column) != 0) {
            fail(column, "is null: read it as a std::optional");
        }
        const std::string_view text(PQgetvalue(m_result, m_number, column),
                                    static_cast<std::size_t>(PQgetlength(m_result, m_number, column)));
        if constexpr (std::same_as<Value, std::string> || std::same_as<Value, std::string_view>) {
            return Value(text);
        } else if constexpr (std::same_as<Value, bool>) {
            return text == "t";
        } else if constexpr (std::same_as<Value, uuid>) {
            const auto value = uuid::parse(text);
            return value ? *value : fail<uuid>(column, "is not a UUID");
        } else {
            static_assert(std::integral<Value> || std::floating_point<Value>,
                          "memoized_prefetch: read this type as std::string_view");
            Value value{};
            const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
            return wrong == std::errc() && end == text.data() + text.size()
                       ? value
                       : fail<Value>(column, "is not a number of the type it is read as");
        }
    }
    template <class Value = void>
    [[noreturn]] Value fail(int column, const char* what) const {
        throw error(std::string(PQfname(m_result, column)) + " " + what, "");
    }

    const PGresult* m_result;
    int m_number;
};

/// A prepared statement. Its errors quote the SQL.
class statement {
public:
    using row_type = row;
    static constexpr const char* parameter = "$1";

    statement(PGconn* connection, std::string sql)
        : m_connection(connection), m_sql(std::move(sql)),
          m_name("memoized_prefetch_" + std::to_string(++last_number)) {
        // The server infers the types of parameters.
        checked(PQprepare(m_connection, m_name.c_str(), m_sql.c_str(), 0, nullptr), "");
    }
    statement(statement&& other) noexcept
        : m_connection(std::exchange(other.m_connection, nullptr)), m_sql(std::move(other.m_sql)),
          m_name(std::move(other.m_name)) {}
    statement(const statement&) = delete;
    statement& operator=(const statement&) = delete;
    statement& operator=(statement&&) = delete;
    /// Deallocates the statement. In a failed transaction the server refuses that and keeps it until the connection
    /// ends.
    ~statement() {
        if (m_connection != nullptr) {
            PQclear(PQexec(m_connection, ("deallocate " + m_name).c_str()));
        }
    }

    /// `text`: the parameter; null for a statement without one. `take` gets each `row`. `for_what` is appended to the
    /// text of an error.
    template <class Take>
    void run(const std::string& for_what, const std::string* text, Take&& take) {
        const char* const value = text == nullptr ? nullptr : text->c_str();
        const auto result =
            checked(PQexecPrepared(m_connection, m_name.c_str(), value == nullptr ? 0 : 1, &value, nullptr, nullptr, 0),
                    for_what);
        const int count = PQntuples(result.get());
        for (int number = 0; number < count; ++number) {
            try {
                take(row(*result, number));
            } catch (const error& wrong) {
                throw error(wrong.what() + ("; in: " + m_sql) + for_what, wrong.sqlstate());
            }
        }
    }
    /// `after`: the parameter; null for a statement without one.
    template <sql_key Key, class Take>
    void run_page(const Key* after, Take&& take) {
        std::string text;
        if (after != nullptr) {
            if constexpr (std::same_as<Key, std::string>) {
                text = *after;
            } else if constexpr (std::same_as<Key, uuid>) {
                text = after->text();
            } else {
                text = std::to_string(*after);
            }
        }
        run("; a page", after == nullptr ? nullptr : &text, take);
    }
    /// Whether the server infers an array as the type of the parameter.
    [[nodiscard]] bool takes_array() const {
        const auto described = checked(PQdescribePrepared(m_connection, m_name.c_str()), "");
        if (PQnparams(described.get()) != 1) {
            return false;
        }
        const std::string query = "select 1 from pg_type where typcategory = 'A' and oid = " +
                                  std::to_string(PQparamtype(described.get(), 0));
        return PQntuples(checked(PQexec(m_connection, query.c_str()), "").get()) == 1;
    }
    [[nodiscard]] const std::string& sql() const noexcept { return m_sql; }

private:
    struct clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    std::unique_ptr<PGresult, clear> checked(PGresult* result, const std::string& for_what) const {
        std::unique_ptr<PGresult, clear> owned(result);
        const ExecStatusType status = PQresultStatus(owned.get());
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            std::string what = owned ? PQresultErrorMessage(owned.get()) : PQerrorMessage(m_connection);
            while (!what.empty() && what.back() == '\n') {
                what.pop_back();
            }
            const char* const state = PQresultErrorField(owned.get(), PG_DIAG_SQLSTATE);
            throw error(what + "; in: " + m_sql + for_what, state == nullptr ? "" : state);
        }
        return owned;
    }

    // Unique in the process: a connection may have statements of several callbacks.
    static inline std::atomic<std::uint64_t> last_number = 0;

    PGconn* m_connection;
    std::string m_sql;
    std::string m_name;
};

/// A statement with the keys as its only parameter.
class keyed_statement {
public:
    using row_type = row;

    keyed_statement(PGconn* connection, std::string sql) : m_statement(connection, std::move(sql)) {
        // With `= $1` or `in ($1)` no row would be found, and all keys would be remembered as missing.
        if (!m_statement.takes_array()) {
            throw error("the keys are sent as one array: write = any($1); in: " + m_statement.sql(), "");
        }
    }
    template <sql_key Key, class Take>
    void run(std::span<const Key> keys, Take&& take) {
        const std::string list = array_literal(keys);
        m_statement.run("; with " + std::to_string(keys.size()) + " keys", &list, take);
    }

private:
    statement m_statement;
};

/// A memo's fetch callback. `sql` selects rows by `= any($1)`, in any order. `map` takes a `const row&` and returns a
/// row of the memo.
template <class Map>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto fetch(PGconn* connection, std::string sql, Map map) {
    return detail::row_fetch(keyed_statement(connection, std::move(sql)), std::move(map));
}

/// A links' fetch callback. `sql` selects source key and target key, in this order, by source keys as above. The rows
/// of each source must be ordered.
template <sql_key Source = std::int64_t, sql_key Target = std::int64_t>
[[nodiscard]] auto fetch_links(PGconn* connection, std::string sql) {
    return detail::link_fetch<keyed_statement, Source, Target>(keyed_statement(connection, std::move(sql)));
}

/// The rows of `sql` in pages ordered by key: an input range of `std::vector<Row>&`, each valid until the next.
/// `sql`: a select without `order by` and `limit`. `key`: the name of one of its columns, unique, not null and indexed;
/// `key_of` returns its value for a row. `size`: rows per page. `start`: begin after this key, to resume a run.
/// Each page is a statement of its own, run to its end. Rows inserted or deleted meanwhile may or may not be seen, but
/// none is seen twice. Text is ordered by the column's collation.
template <class Map, class KeyOf>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto pages(PGconn* connection, const std::string& sql, const std::string& key, Map map, KeyOf key_of,
                         std::size_t size = 2'000, std::optional<detail::page_key<Map, row, KeyOf>> start = {}) {
    return detail::pages_of<statement>(connection, sql, key, std::move(map), std::move(key_of), size, std::move(start));
}

} // namespace memoized_prefetch::postgresql
