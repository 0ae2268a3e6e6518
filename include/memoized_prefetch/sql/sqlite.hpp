/// \file
/// Fetch callbacks over SQLite, using SQLiteCpp (3.2 or newer; link SQLiteCpp and sqlite3).
///
///     SQLite::Database database("library.db");
///     mp::memo authors{&Author::id,
///                      mp::sqlite::fetch(database,
///                                        "select id, name from author where id in (select value from json_each(?))",
///                                        [](const mp::sqlite::row& row) {
///                                            return Author{row.get<std::int64_t>(0), row.get<std::string>(1)};
///                                        })};
///
/// All keys are sent as one parameter, a JSON array, so a statement is prepared once, when the callback is constructed.
/// Keys are integers, `std::string` or `uuid`. The connection must outlive the callback; use it from one thread at a
/// time. Failures throw `SQLite::Exception` with SQLite's code. Its text ends with the statement and the number of
/// keys. Needs exceptions, as SQLiteCpp does.
#pragma once

#include <memoized_prefetch/sql/keyed_fetch.hpp>

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace memoized_prefetch::sqlite {

/// The current row of a statement, as mappers see it. Valid until the mapper returns.
class row {
public:
    explicit row(SQLite::Statement& statement) noexcept : m_statement(&statement) {}

    /// `Value`: an integer, `bool`, a floating-point type, `std::string`, `uuid`, or a `std::optional` of these for a
    /// column that may be null. `column` counts from 0.
    template <class Value>
    [[nodiscard]] Value get(int column) const {
        return read(m_statement->getColumn(column), static_cast<Value*>(nullptr));
    }
    /// For types that `get` cannot read, such as a BLOB.
    [[nodiscard]] SQLite::Column column(int column) const { return m_statement->getColumn(column); }

private:
    template <class Value>
    static std::optional<Value> read(const SQLite::Column& column, std::optional<Value>*) {
        return column.isNull() ? std::nullopt : std::optional(read(column, static_cast<Value*>(nullptr)));
    }
    template <class Value>
    static Value read(const SQLite::Column& column, Value*) {
        if (column.isNull()) {
            fail(column, "is null: read it as a std::optional");
        }
        if constexpr (std::same_as<Value, bool>) {
            return column.getInt64() != 0;
        } else if constexpr (std::integral<Value>) {
            const std::int64_t value = column.getInt64();
            if (!std::in_range<Value>(value)) {
                fail(column, "is out of range for the type it is read as");
            }
            return static_cast<Value>(value);
        } else if constexpr (std::floating_point<Value>) {
            return static_cast<Value>(column.getDouble());
        } else if constexpr (std::same_as<Value, uuid>) {
            const auto value = uuid::parse(column.getString());
            if (!value) {
                fail(column, "is not a UUID");
            }
            return *value;
        } else {
            static_assert(std::same_as<Value, std::string>, "memoized_prefetch: read this type with row.column()");
            return column.getString();
        }
    }
    [[noreturn]] static void fail(const SQLite::Column& column, const char* what) {
        throw SQLite::Exception(std::string(column.getName()) + " " + what, SQLITE_MISMATCH);
    }

    SQLite::Statement* m_statement;
};

/// A prepared statement. Its errors quote the SQL.
class statement {
public:
    using row_type = row;
    static constexpr const char* parameter = "?";

    statement(SQLite::Database& database, std::string sql) : m_sql(std::move(sql)) {
        explained("", [&] { m_statement = std::make_unique<SQLite::Statement>(database, m_sql); });
    }

    /// `bind` sets the parameters, `take` gets each `row`. `for_what` is appended to the text of an error.
    template <class Bind, class Take>
    void run(const std::string& for_what, Bind&& bind, Take&& take) {
        explained(for_what, [&] {
            const at_end reset{*m_statement};
            bind(*m_statement);
            const row current(*m_statement);
            while (m_statement->executeStep()) {
                take(current);
            }
        });
    }
    /// `after`: the parameter; null for a statement without one.
    template <sql_key Key, class Take>
    void run_page(const Key* after, Take&& take) {
        auto bind = [&](SQLite::Statement& prepared) {
            if (after == nullptr) {
                return;
            }
            if constexpr (std::integral<Key>) {
                prepared.bind(1, static_cast<std::int64_t>(*after));
            } else if constexpr (std::same_as<Key, uuid>) {
                prepared.bind(1, after->text());
            } else {
                prepared.bind(1, *after);
            }
        };
        run("; a page", bind, take);
    }

private:
    /// Ends the read transaction of the statement, even if the mapper throws.
    struct at_end {
        SQLite::Statement& statement;
        explicit at_end(SQLite::Statement& of) noexcept : statement(of) {}
        at_end(const at_end&) = delete;
        at_end& operator=(const at_end&) = delete;
        ~at_end() {
            static_cast<void>(statement.tryReset()); // repeats the step's error, which was already thrown
        }
    };
    template <class Function>
    void explained(const std::string& for_what, Function&& function) const {
        try {
            function();
        } catch (const SQLite::Exception& error) {
            throw SQLite::Exception(std::string(error.what()) + "; in: " + m_sql + for_what, error.getErrorCode());
        }
    }

    std::string m_sql;
    std::unique_ptr<SQLite::Statement> m_statement; // keeps its address when the callback is moved
};

/// A statement with the keys as its only parameter.
class keyed_statement {
public:
    using row_type = row;

    keyed_statement(SQLite::Database& database, const std::string& sql) : m_statement(database, sql) {
        // With `in (?)` no row would be found, and all keys would be remembered as missing.
        if (sql.find("json_each") == std::string::npos) {
            throw SQLite::Exception(
                "the keys are sent as one JSON array: write in (select value from json_each(?)); in: " + sql,
                SQLITE_MISUSE);
        }
    }
    template <sql_key Key, class Take>
    void run(std::span<const Key> keys, Take&& take) {
        const std::string list = json_array(keys);
        m_statement.run(
            "; with " + std::to_string(keys.size()) + " keys",
            [&](SQLite::Statement& prepared) { prepared.bindNoCopy(1, list); }, take);
    }

private:
    statement m_statement;
};

/// A memo's fetch callback. `sql` selects rows by `in (select value from json_each(?))`, in any order. `map` takes a
/// `const row&` and returns a row of the memo.
template <class Map>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto fetch(SQLite::Database& database, const std::string& sql, Map map) {
    return detail::row_fetch(keyed_statement(database, sql), std::move(map));
}

/// A links' fetch callback. `sql` selects source key and target key, in this order, by source keys as above. The rows
/// of each source must be ordered.
template <sql_key Source = std::int64_t, sql_key Target = std::int64_t>
[[nodiscard]] auto fetch_links(SQLite::Database& database, const std::string& sql) {
    return detail::link_fetch<keyed_statement, Source, Target>(keyed_statement(database, sql));
}

/// The rows of `sql` in pages ordered by key: an input range of `std::vector<Row>&`, each valid until the next.
/// `sql`: a select without `order by` and `limit`. `key`: the name of one of its columns, unique, not null and indexed;
/// `key_of` returns its value for a row. `size`: rows per page. `start`: begin after this key, to resume a run.
/// Each page is a statement of its own, run to its end. Rows inserted or deleted meanwhile may or may not be seen, but
/// none is seen twice.
template <class Map, class KeyOf>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto pages(SQLite::Database& database, const std::string& sql, const std::string& key, Map map,
                         KeyOf key_of, std::size_t size = 2'000,
                         std::optional<detail::page_key<Map, row, KeyOf>> start = {}) {
    return detail::pages_of<statement>(database, sql, key, std::move(map), std::move(key_of), size, std::move(start));
}

} // namespace memoized_prefetch::sqlite
