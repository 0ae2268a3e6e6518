#include "adapter_suite.hpp"
#include "flights_example.hpp"

#include <memoized_prefetch/sqlite.hpp>

#include <filesystem>

#include <unistd.h>

namespace {

namespace mp = memoized_prefetch;

/// A temporary file, deleted at the end.
class sqlite_file {
public:
    using row = mp::sqlite::row;
    using error = SQLite::Exception;
    static constexpr const char* in_keys = "in (select value from json_each(?))";
    static constexpr const char* create = "create table";
    static constexpr const char* uuid_type = "text";
    static constexpr std::array wrong_conditions{"in (?)", "= ?"};

    void exec(const std::string& sql) { m_database.exec(sql); }
    auto fetch(const std::string& sql, auto map) { return mp::sqlite::fetch(m_database, sql, map); }
    template <class Source, class Target>
    auto links(const std::string& sql) {
        return mp::sqlite::fetch_links<Source, Target>(m_database, sql);
    }
    auto pages(const std::string& sql, const std::string& key, auto map, auto key_of, auto... more) {
        return mp::sqlite::pages(m_database, sql, key, map, key_of, more...);
    }
    int statements() {
        int count = 0;
        for (sqlite3_stmt* one = nullptr; (one = sqlite3_next_stmt(m_database.getHandle(), one)) != nullptr;) {
            ++count;
        }
        return count;
    }
    [[nodiscard]] std::string path() const { return m_path.string(); }
    SQLite::Database& database() { return m_database; }

private:
    struct temporary_path : std::filesystem::path {
        temporary_path()
            : path(std::filesystem::temp_directory_path() / ("memoized_prefetch_" + std::to_string(getpid()) + ".db")) {
            std::filesystem::remove(*this);
        }
        temporary_path(const temporary_path&) = delete;
        temporary_path& operator=(const temporary_path&) = delete;
        ~temporary_path() { std::filesystem::remove(*this); }
    } m_path;
    SQLite::Database m_database{m_path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE};
};

std::string plan(SQLite::Database& database, const std::string& sql) {
    std::string steps;
    SQLite::Statement statement(database, "explain query plan " + sql);
    while (statement.executeStep()) {
        steps += statement.getColumn(3).getString() + "; ";
    }
    return steps;
}

} // namespace

namespace adapters {
INSTANTIATE_TYPED_TEST_SUITE_P(sqlite, adapter, sqlite_file);
} // namespace adapters

TEST(sqlite, uuids_may_be_kept_as_digits_alone) {
    sqlite_file file;
    file.exec(
        "create table token (id char(32) primary key); insert into token values ('6f1c1a0e8a2b4c3d9e4f001122334455')");
    auto fetch = file.fetch("select id from token where id in (select replace(value, '-', '') from json_each(?))",
                            [](const mp::sqlite::row& row) { return row.get<mp::uuid>(0); });
    const std::array<mp::uuid, 1> keys{*mp::uuid::parse("6f1c1a0e-8a2b-4c3d-9e4f-001122334455")};
    EXPECT_EQ(std::vector<mp::uuid>{keys[0]}, fetch(std::span<const mp::uuid>(keys)));
}

TEST(sqlite, errors_keep_the_code_of_sqlite) {
    sqlite_file file;
    try {
        static_cast<void>(file.links<std::int64_t, std::int64_t>("select 1 from nowhere, json_each(?)"));
        ADD_FAILURE() << "nothing was thrown";
    } catch (const SQLite::Exception& error) {
        EXPECT_EQ(SQLITE_ERROR, error.getErrorCode());
    }
}

TEST(sqlite, pages_and_fetches_go_by_the_index) {
    sqlite_file file;
    file.exec("create table author (id integer primary key, name text); create table book (isbn text primary key, "
              "author_id int)");
    const auto fetched = plan(file.database(), "select * from book where isbn in (select value from json_each('[]'))");
    EXPECT_NE(std::string::npos, fetched.find("SEARCH book USING INDEX")) << fetched;
    const auto page = plan(file.database(),
                           "select * from (select b.isbn, a.name from book b left join author a on a.id = b.author_id "
                           "where name <> 'x') as page where isbn > 'a' order by isbn limit 10");
    EXPECT_NE(std::string::npos, page.find("SEARCH b USING INDEX")) << page;
    EXPECT_EQ(std::string::npos, page.find("TEMP B-TREE")) << page;
}

TEST(sqlite, the_flights_example_reports_what_python_does) {
    sqlite_file file;
    file.exec(flights::tables);
    EXPECT_EQ(flights::report, flights::output_of(EXAMPLES "/flights_sqlite '" + file.path() + "' 2>/dev/null"));
}
