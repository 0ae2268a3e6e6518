#include "adapter_suite.hpp"
#include "flights_example.hpp"

#include <memoized_prefetch/postgresql.hpp>

#include <cmath>
#include <cstdlib>

namespace {

namespace mp = memoized_prefetch;

/// The server of DATABASE_URL. Uses temporary tables only, so nothing is left when the connection ends.
class postgresql_server {
public:
    using row = mp::postgresql::row;
    using error = mp::postgresql::error;
    static constexpr const char* in_keys = "= any($1)";
    static constexpr const char* create = "create temporary table";
    static constexpr const char* uuid_type = "uuid";
    static constexpr std::array wrong_conditions{"= $1", "in ($1)", "in ($1, $2)"};

    postgresql_server() {
        const char* const url = std::getenv("DATABASE_URL"); // NOLINT(concurrency-mt-unsafe): nobody sets it
        if (url == nullptr) {
            throw std::runtime_error("DATABASE_URL is not set; it was when these tests were configured");
        }
        m_connection.reset(PQconnectdb(url));
        if (PQstatus(m_connection.get()) != CONNECTION_OK) {
            throw std::runtime_error(PQerrorMessage(m_connection.get()));
        }
        exec("set client_min_messages = warning");
    }
    void exec(const std::string& sql) { result(sql, PGRES_COMMAND_OK); }
    std::string value(const std::string& sql) { return PQgetvalue(result(sql, PGRES_TUPLES_OK).get(), 0, 0); }
    auto fetch(const std::string& sql, auto map) { return mp::postgresql::fetch(connection(), sql, map); }
    template <class Source, class Target>
    auto links(const std::string& sql) {
        return mp::postgresql::fetch_links<Source, Target>(connection(), sql);
    }
    auto pages(const std::string& sql, const std::string& key, auto map, auto key_of, auto... more) {
        return mp::postgresql::pages(connection(), sql, key, map, key_of, more...);
    }
    int statements() { return std::stoi(value("select count(*) from pg_prepared_statements")); }
    PGconn* connection() { return m_connection.get(); }

private:
    struct finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    struct clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    std::unique_ptr<PGresult, clear> result(const std::string& sql, ExecStatusType expected) {
        std::unique_ptr<PGresult, clear> owned(PQexec(connection(), sql.c_str()));
        if (PQresultStatus(owned.get()) != expected) {
            throw std::runtime_error(PQerrorMessage(connection()));
        }
        return owned;
    }
    std::unique_ptr<PGconn, finish> m_connection;
};

constexpr auto name_of = [](const mp::postgresql::row& row) { return row.get<std::string>(0); };

} // namespace

namespace adapters {
INSTANTIATE_TYPED_TEST_SUITE_P(postgresql, adapter, postgresql_server);
} // namespace adapters

TEST(postgresql, fetches_run_in_the_transaction_that_is_open) {
    postgresql_server server;
    server.exec("create temporary table author (id int primary key, name text)");
    auto fetch = server.fetch("select name from author where id = any($1)", name_of);
    const std::array<std::int64_t, 1> keys{1};
    server.exec("begin; insert into author values (1, 'Woolf')");
    EXPECT_EQ(std::vector<std::string>{"Woolf"}, fetch(std::span<const std::int64_t>(keys)));
    server.exec("rollback");
    EXPECT_EQ(std::vector<std::string>{}, fetch(std::span<const std::int64_t>(keys)));
}

TEST(postgresql, errors_carry_the_sqlstate) {
    postgresql_server server;
    try {
        static_cast<void>(server.fetch("select name from nowhere where id = any($1)", name_of));
        ADD_FAILURE() << "nothing was thrown";
    } catch (const mp::postgresql::error& error) {
        EXPECT_EQ("42P01", error.sqlstate());
    }
    auto fetch = server.fetch("select 1 / (id - 1) from generate_series(1, 3) as id where id = any($1)", name_of);
    const std::array<std::int64_t, 2> keys{1, 2};
    try {
        static_cast<void>(fetch(std::span<const std::int64_t>(keys)));
        ADD_FAILURE() << "nothing was thrown";
    } catch (const mp::postgresql::error& error) {
        EXPECT_EQ("22012", error.sqlstate());
    }
}

TEST(postgresql, statements_of_several_callbacks_and_of_failed_transactions_do_not_meet) {
    postgresql_server server;
    const std::array<std::int64_t, 1> keys{1};
    server.exec("begin");
    {
        auto fetch = server.fetch("select 'lost' where 1 = any($1::bigint[])", name_of);
        EXPECT_THROW(server.exec("select wrong"), std::runtime_error);
        EXPECT_THROW(static_cast<void>(fetch(std::span<const std::int64_t>(keys))), mp::postgresql::error);
    }
    server.exec("rollback");
    auto first = server.fetch("select 'first' where 1 = any($1::bigint[])", name_of);
    auto second = server.fetch("select 'second' where 1 = any($1::bigint[])", name_of);
    EXPECT_EQ(std::vector<std::string>{"first"}, first(std::span<const std::int64_t>(keys)));
    EXPECT_EQ(std::vector<std::string>{"second"}, second(std::span<const std::int64_t>(keys)));
}

TEST(postgresql, numbers_are_read_as_they_were_written) {
    postgresql_server server;
    auto fetch = server.fetch("select 'NaN'::float8, '-Infinity'::float8, 0.1::float8, 1e300, null::float4 "
                              "where 1 = any($1::bigint[])",
                              [](const mp::postgresql::row& row) {
                                  return std::array{row.get<double>(0), row.get<double>(1), row.get<double>(2),
                                                    row.get<double>(3), row.get<std::optional<double>>(4).value_or(-1)};
                              });
    const std::array<std::int64_t, 1> keys{1};
    const auto rows = fetch(std::span<const std::int64_t>(keys));
    EXPECT_TRUE(std::isnan(rows[0][0]));
    EXPECT_EQ((std::array{-std::numeric_limits<double>::infinity(), 0.1, 1e300, -1.0}),
              (std::array{rows[0][1], rows[0][2], rows[0][3], rows[0][4]}));
}

TEST(postgresql, the_flights_example_reports_what_python_does) {
    postgresql_server server;
    struct own_schema { // the example has its own connection, which does not see temporary tables
        postgresql_server& server;
        const std::string name = "memoized_prefetch_" + server.value("select pg_backend_pid()");
        explicit own_schema(postgresql_server& on) : server(on) {
            server.exec("create schema " + name + "; set search_path = " + name);
        }
        own_schema(const own_schema&) = delete;
        own_schema& operator=(const own_schema&) = delete;
        ~own_schema() { server.exec("drop schema " + name + " cascade"); }
    } const schema(server);
    server.exec(flights::tables);
    EXPECT_EQ(flights::report, flights::output_of("PGOPTIONS='-c search_path=" + schema.name +
                                                  "' '" EXAMPLES "/flights_postgresql' \"$DATABASE_URL\" 2>/dev/null"));
}
