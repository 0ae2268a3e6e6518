/// Fetch callbacks over PostgreSQL, by libpq (link pq).
///
///   mp::memo authors{&Author::id,
///                    mp::postgresql::fetch(connection, "select id, name from author where id = any($1)",
///                                          [](const mp::postgresql::row& row) {
///                                              return Author{row.get<std::int64_t>(0), row.get<std::string>(1)};
///                                          })};
///
/// The keys come as one parameter, an array: a statement is prepared once, when the callback is made. Keys are integers,
/// `std::string` or `uuid`. The `PGconn*` is borrowed: it outlives the callback, and is used by one thread at a time. Fetches
/// run in the transaction that is open there, or each for itself.
/// Errors are `postgresql::error` with the SQLSTATE; their text ends with the statement and the number of keys. Needs
/// exceptions.
///
/// Why libpq and not libpqxx: a libpqxx connection has one transaction object at a time, which each fetch would have to be
/// handed, and its versions 6 and 7 have different ones; libpq is below every client and has been the same for long.
/// A callback over libpqxx is short, with `array_literal(keys)` of key_list.hpp as its parameter.
#pragma once

#include <memoized_prefetch/detail/page_range.hpp>
#include <memoized_prefetch/sql/key_list.hpp>

#include <libpq-fe.h>

#include <atomic>
#include <memory>
#include <stdexcept>

namespace memoized_prefetch::postgresql {

/// What the server or the connection refused.
class error : public std::runtime_error {
public:
    error(const std::string& what, std::string sqlstate) : std::runtime_error(what), m_sqlstate(std::move(sqlstate)) {}
    /// Five characters; empty when it is not the server's error.
    [[nodiscard]] const std::string& sqlstate() const noexcept { return m_sqlstate; }

private:
    std::string m_sqlstate;
};

/// A row of a result, as mappers see it. Gone when the mapper returns.
class row {
public:
    row(const PGresult& result, int number) noexcept : m_result(&result), m_number(number) {}

    /// `Value`: an integer, `bool`, a floating-point type, `std::string`, `std::string_view` (into the result), `uuid`, or a
    /// `std::optional` of these for a column that may be null. `column` counts from 0.
    template <class Value>
    [[nodiscard]] Value get(int column) const {
        return read(column, static_cast<Value*>(nullptr));
    }

private:
    template <class Value>
    std::optional<Value> read(int column, std::optional<Value>*) const {
        return PQgetisnull(m_result, m_number, column) != 0 ? std::nullopt : std::optional(get<Value>(column));
    }
    template <class Value>
    Value read(int column, Value*) const {
        if (column < 0 || column >= PQnfields(m_result)) {
            throw error("there is no column " + std::to_string(column), "");
        }
        if (PQgetisnull(m_result, m_number, column) != 0) {
            fail(column, "is null, and not read as a std::optional");
        }
        const std::string_view text(PQgetvalue(m_result, m_number, column),
                                    static_cast<std::size_t>(PQgetlength(m_result, m_number, column)));
        if constexpr (std::same_as<Value, std::string> || std::same_as<Value, std::string_view>) {
            return Value(text);
        } else if constexpr (std::same_as<Value, bool>) {
            return text == "t";
        } else if constexpr (std::same_as<Value, uuid>) {
            const auto value = uuid::parse(text);
            return value ? *value : fail<uuid>(column, "is no UUID");
        } else {
            static_assert(std::integral<Value> || std::floating_point<Value>,
                          "memoized_prefetch: read this type as std::string_view");
            Value value{};
            const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
            return wrong == std::errc() && end == text.data() + text.size() ? value
                                                                            : fail<Value>(column, "is no such number");
        }
    }
    template <class Value = void>
    [[noreturn]] Value fail(int column, const char* what) const {
        throw error(std::string(PQfname(m_result, column)) + " " + what, "");
    }

    const PGresult* m_result;
    int m_number;
};

/// A statement that was prepared once, and says which it is when it fails.
class statement {
public:
    statement(PGconn* connection, std::string sql)
        : m_connection(connection), m_sql(std::move(sql)),
          m_name("memoized_prefetch_" + std::to_string(++last_number)) {
        // Types of parameters: as the server infers them.
        checked(PQprepare(m_connection, m_name.c_str(), m_sql.c_str(), 0, nullptr), "");
    }
    statement(statement&& other) noexcept
        : m_connection(std::exchange(other.m_connection, nullptr)), m_sql(std::move(other.m_sql)),
          m_name(std::move(other.m_name)) {}
    statement(const statement&) = delete;
    statement& operator=(const statement&) = delete;
    statement& operator=(statement&&) = delete;
    /// The server forgets it, unless a transaction has failed: then it goes with the connection.
    ~statement() {
        if (m_connection != nullptr) {
            PQclear(PQexec(m_connection, ("deallocate " + m_name).c_str()));
        }
    }

    /// `parameter`: null for a statement without one. `take` gets a `row` for each row. `for_what` ends the text of an error.
    template <class Take>
    void run(const std::string& for_what, const std::string* parameter, Take&& take) {
        const char* const value = parameter == nullptr ? nullptr : parameter->c_str();
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
    /// Whether the parameter is an array, as the server understands the statement.
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

    // Names are told apart within a connection; it may have statements of other callbacks, and be used by several in turn.
    static inline std::atomic<std::uint64_t> last_number = 0;

    PGconn* m_connection;
    std::string m_sql;
    std::string m_name;
};

/// A statement with the keys as its only parameter.
class keyed_statement {
public:
    keyed_statement(PGconn* connection, std::string sql) : m_statement(connection, std::move(sql)) {
        // `= $1` and `in ($1)` would find no row, and all keys be remembered as missing.
        if (!m_statement.takes_array()) {
            throw error("the keys are one array: write = any($1); in: " + m_statement.sql(), "");
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

/// A memo's fetch callback; see `fetch`.
template <class Map>
class row_fetch {
public:
    using row_type = std::remove_cvref_t<std::invoke_result_t<Map&, const row&>>;

    row_fetch(PGconn* connection, std::string sql, Map map)
        : m_statement(connection, std::move(sql)), m_map(std::move(map)) {}
    template <sql_key Key>
    [[nodiscard]] std::vector<row_type> operator()(std::span<const Key> keys) {
        std::vector<row_type> rows;
        rows.reserve(keys.size());
        m_statement.run(keys, [&](const row& current) { rows.push_back(std::invoke(m_map, current)); });
        return rows;
    }

private:
    keyed_statement m_statement;
    Map m_map;
};

/// A links' fetch callback; see `fetch_links`.
template <sql_key Source, sql_key Target>
class link_fetch {
public:
    link_fetch(PGconn* connection, std::string sql) : m_statement(connection, std::move(sql)) {}
    [[nodiscard]] std::vector<std::pair<Source, Target>> operator()(std::span<const Source> sources) {
        std::vector<std::pair<Source, Target>> links;
        m_statement.run(
            sources, [&](const row& current) { links.emplace_back(current.get<Source>(0), current.get<Target>(1)); });
        return links;
    }

private:
    keyed_statement m_statement;
};

/// A memo's fetch callback. `sql` selects rows by `= any($1)`, in any order; `map` makes a row of the memo of a `const row&`.
template <class Map>
requires std::invocable<Map&, const row&>
[[nodiscard]] row_fetch<Map> fetch(PGconn* connection, std::string sql, Map map) {
    return {connection, std::move(sql), std::move(map)};
}

/// A links' fetch callback. `sql` selects a source key and a target key, by source keys as above, ordered within each source.
template <sql_key Source = std::int64_t, sql_key Target = std::int64_t>
[[nodiscard]] link_fetch<Source, Target> fetch_links(PGconn* connection, std::string sql) {
    return {connection, std::move(sql)};
}

/// The rows of `sql` in pages ordered by key: an input range of `std::vector<Row>&`, each valid until the next.
/// `sql`: a select without `order by` and `limit`. `key`: the name of a column of it, unique and not null, with an index;
/// `key_of` gives it of a row. `size`: rows of a page. `start`: the key behind which to start, as of a run that was stopped.
/// Each page is a statement of its own, run to its end: what is inserted or deleted meanwhile is seen or not, no row twice.
/// Text is ordered by the column's collation.
template <class Map, class KeyOf>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto pages(PGconn* connection, const std::string& sql, const std::string& key, Map map, KeyOf key_of,
                         std::size_t size = 2'000,
                         std::optional<memoized_prefetch::detail::page_key<Map, row, KeyOf>> start = {}) {
    using row_type = memoized_prefetch::detail::page_row<Map, row>;
    using key_type = memoized_prefetch::detail::page_key<Map, row, KeyOf>;
    static_assert(sql_key<key_type>, "memoized_prefetch: pages are ordered by an integer, a std::string or a uuid");
    const std::string select = "select * from (" + sql + ") as page";
    const std::string end = " order by " + key + " limit " + std::to_string(size);
    auto read = [first = statement(connection, select + end),
                 next = statement(connection, select + " where " + key + " > $1" + end),
                 map = std::move(map)](const key_type* after, std::vector<row_type>& page) mutable {
        std::string parameter;
        if constexpr (std::same_as<key_type, std::string>) {
            parameter = after == nullptr ? "" : *after;
        } else if constexpr (std::same_as<key_type, uuid>) {
            parameter = after == nullptr ? "" : after->text();
        } else {
            parameter = after == nullptr ? "" : std::to_string(*after);
        }
        (after == nullptr ? first : next)
            .run("; a page", after == nullptr ? nullptr : &parameter,
                 [&](const row& current) { page.push_back(std::invoke(map, current)); });
    };
    return memoized_prefetch::detail::page_range<row_type, key_type, KeyOf, decltype(read)>(
        std::move(read), std::move(key_of), size, std::move(start));
}

} // namespace memoized_prefetch::postgresql
