/// Fetch callbacks over SQLite, by SQLiteCpp (3.2 or newer; link SQLiteCpp and sqlite3).
///
///   SQLite::Database database("library.db");
///   mp::memo authors{&Author::id,
///                    mp::sqlite::fetch(database, "select id, name from author where id in (select value from json_each(?))",
///                                      [](const mp::sqlite::row& row) {
///                                          return Author{row.get<std::int64_t>(0), row.get<std::string>(1)};
///                                      })};
///
/// The keys come as one parameter, a JSON array: a statement is prepared once, when the callback is made. Keys are integers,
/// `std::string` or `uuid`. The connection is borrowed: it outlives the callback, and is used by one thread at a time.
/// Errors are `SQLite::Exception` with SQLite's code; their text ends with the statement and the number of keys.
/// Needs exceptions, as SQLiteCpp does.
#pragma once

#include <memoized_prefetch/detail/page_range.hpp>
#include <memoized_prefetch/sql/key_list.hpp>

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <memory>
#include <utility>

namespace memoized_prefetch::sqlite {

/// The current row of a statement, as mappers see it. Gone when the mapper returns.
class row {
public:
    explicit row(SQLite::Statement& statement) noexcept : m_statement(&statement) {}

    /// `Value`: an integer, `bool`, a floating-point type, `std::string`, `uuid`, or a `std::optional` of these for a column
    /// that may be null. `column` counts from 0.
    template <class Value>
    [[nodiscard]] Value get(int column) const {
        return read(m_statement->getColumn(column), static_cast<Value*>(nullptr));
    }
    /// For what `get` does not know, such as a BLOB.
    [[nodiscard]] SQLite::Column column(int column) const { return m_statement->getColumn(column); }

private:
    template <class Value>
    static std::optional<Value> read(const SQLite::Column& column, std::optional<Value>*) {
        return column.isNull() ? std::nullopt : std::optional(read(column, static_cast<Value*>(nullptr)));
    }
    template <class Value>
    static Value read(const SQLite::Column& column, Value*) {
        if (column.isNull()) {
            fail(column, "is null, and not read as a std::optional");
        }
        if constexpr (std::same_as<Value, bool>) {
            return column.getInt64() != 0;
        } else if constexpr (std::integral<Value>) {
            const std::int64_t value = column.getInt64();
            if (!std::in_range<Value>(value)) {
                fail(column, "is too large for the type it is read as");
            }
            return static_cast<Value>(value);
        } else if constexpr (std::floating_point<Value>) {
            return static_cast<Value>(column.getDouble());
        } else if constexpr (std::same_as<Value, uuid>) {
            const auto value = uuid::parse(column.getString());
            if (!value) {
                fail(column, "is no UUID");
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

/// A statement that was prepared once, and says which it is when it fails.
class statement {
public:
    statement(SQLite::Database& database, std::string sql) : m_sql(std::move(sql)) {
        explained("", [&] { m_statement = std::make_unique<SQLite::Statement>(database, m_sql); });
    }

    /// `bind` gives the parameters, `take` gets a `row` for each row. `for_what` ends the text of an error.
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

private:
    /// Ends the read transaction of the statement, also when the mapper threw.
    struct at_end {
        SQLite::Statement& statement;
        explicit at_end(SQLite::Statement& of) noexcept : statement(of) {}
        at_end(const at_end&) = delete;
        at_end& operator=(const at_end&) = delete;
        ~at_end() {
            static_cast<void>(statement.tryReset()); // its code is that of the step, which was thrown already
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
    std::unique_ptr<SQLite::Statement> m_statement; // stays where it is when the callback is moved
};

/// A statement with the keys as its only parameter.
class keyed_statement {
public:
    keyed_statement(SQLite::Database& database, const std::string& sql) : m_statement(database, sql) {
        // `in (?)` would find no row, and all keys be remembered as missing.
        if (sql.find("json_each") == std::string::npos) {
            throw SQLite::Exception(
                "the keys are one JSON array: write in (select value from json_each(?)); in: " + sql, SQLITE_MISUSE);
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

/// A memo's fetch callback; see `fetch`.
template <class Map>
class row_fetch {
public:
    using row_type = std::remove_cvref_t<std::invoke_result_t<Map&, const row&>>;

    row_fetch(SQLite::Database& database, const std::string& sql, Map map)
        : m_statement(database, sql), m_map(std::move(map)) {}
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
    link_fetch(SQLite::Database& database, const std::string& sql) : m_statement(database, sql) {}
    [[nodiscard]] std::vector<std::pair<Source, Target>> operator()(std::span<const Source> sources) {
        std::vector<std::pair<Source, Target>> links;
        m_statement.run(
            sources, [&](const row& current) { links.emplace_back(current.get<Source>(0), current.get<Target>(1)); });
        return links;
    }

private:
    keyed_statement m_statement;
};

/// A memo's fetch callback. `sql` selects rows by `in (select value from json_each(?))`, in any order; `map` makes a row of the
/// memo of a `const row&`.
template <class Map>
requires std::invocable<Map&, const row&>
[[nodiscard]] row_fetch<Map> fetch(SQLite::Database& database, const std::string& sql, Map map) {
    return {database, sql, std::move(map)};
}

/// A links' fetch callback. `sql` selects a source key and a target key, by source keys as above, ordered within each source.
template <sql_key Source = std::int64_t, sql_key Target = std::int64_t>
[[nodiscard]] link_fetch<Source, Target> fetch_links(SQLite::Database& database, const std::string& sql) {
    return {database, sql};
}

/// The rows of `sql` in pages ordered by key: an input range of `std::vector<Row>&`, each valid until the next.
/// `sql`: a select without `order by` and `limit`. `key`: the name of a column of it, unique and not null, with an index;
/// `key_of` gives it of a row. `size`: rows of a page. `start`: the key behind which to start, as of a run that was stopped.
/// Each page is a statement of its own, run to its end: what is inserted or deleted meanwhile is seen or not, no row twice.
template <class Map, class KeyOf>
requires std::invocable<Map&, const row&>
[[nodiscard]] auto pages(SQLite::Database& database, const std::string& sql, const std::string& key, Map map,
                         KeyOf key_of, std::size_t size = 2'000,
                         std::optional<memoized_prefetch::detail::page_key<Map, row, KeyOf>> start = {}) {
    using row_type = memoized_prefetch::detail::page_row<Map, row>;
    using key_type = memoized_prefetch::detail::page_key<Map, row, KeyOf>;
    static_assert(sql_key<key_type>, "memoized_prefetch: pages are ordered by an integer, a std::string or a uuid");
    const std::string select = "select * from (" + sql + ") as page";
    const std::string end = " order by " + key + " limit " + std::to_string(size);
    auto read = [first = statement(database, select + end),
                 next = statement(database, select + " where " + key + " > ?" + end),
                 map = std::move(map)](const key_type* after, std::vector<row_type>& page) mutable {
        auto bind = [&](SQLite::Statement& prepared) {
            if (after == nullptr) {
                return;
            }
            if constexpr (std::integral<key_type>) {
                prepared.bind(1, static_cast<std::int64_t>(*after));
            } else if constexpr (std::same_as<key_type, uuid>) {
                prepared.bind(1, after->text());
            } else {
                prepared.bind(1, *after);
            }
        };
        (after == nullptr ? first : next).run("; a page", bind, [&](const row& current) {
            page.push_back(std::invoke(map, current));
        });
    };
    return memoized_prefetch::detail::page_range<row_type, key_type, KeyOf, decltype(read)>(
        std::move(read), std::move(key_of), size, std::move(start));
}

} // namespace memoized_prefetch::sqlite
