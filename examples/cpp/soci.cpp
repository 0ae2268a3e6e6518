/// Your own fetch callback over SOCI: does what the adapters do, for a client without an adapter.
///
/// SOCI cannot send a container for `in (...)`, but it can send a text that contains the keys: see key_list.hpp.
#include <memoized_prefetch/memoized_prefetch.hpp>
#include <memoized_prefetch/sql/key_list.hpp>

#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <cstdio>

namespace mp = memoized_prefetch;

namespace {

struct Author {
    std::int64_t id = 0;
    std::string name = {};
};

/// The statement is prepared once, with the variables that it reads and writes. A callback may keep any state.
class FetchAuthors {
public:
    explicit FetchAuthors(soci::session& session)
        : m_statement(
              (session.prepare << "select id, name from author where id in (select value from json_each(:keys))",
               soci::use(m_keys), soci::into(m_row.id), soci::into(m_row.name))) {}
    // Not copyable: the statement holds the addresses of the variables.
    FetchAuthors(const FetchAuthors&) = delete;
    FetchAuthors& operator=(const FetchAuthors&) = delete;

    std::vector<Author> operator()(std::span<const std::int64_t> keys) {
        m_keys = mp::json_array(keys);
        std::vector<Author> found;
        m_statement.execute();
        while (m_statement.fetch()) {
            found.push_back(m_row);
        }
        return found;
    }

private:
    std::string m_keys;
    Author m_row;
    soci::statement m_statement;
};

} // namespace

int main() {
    soci::session session(soci::sqlite3, ":memory:");
    session << "create table author (id integer primary key, name text)";
    session << "insert into author values (1, 'Woolf'), (2, 'Joyce')";

    FetchAuthors fetch(session);
    mp::memo authors{&Author::id, [&](std::span<const std::int64_t> keys) { return fetch(keys); }};
    for (int times = 0; times < 2; ++times) {
        const std::vector<std::int64_t> keys{2, 3, 1};
        const auto rows = authors.resolve(keys);
        for (std::size_t at = 0; at < keys.size(); ++at) {
            std::printf("%d: %s\n", static_cast<int>(keys[at]),
                        rows[at] != nullptr ? rows[at]->name.c_str() : "nobody");
        }
    }
    std::printf("queries: %d\n", static_cast<int>(authors.stats().queries));
}
