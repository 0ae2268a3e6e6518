/// A job with a database that gets related rows in one way: end_to_end DATABASE WORKLOAD CONTENDER
///
/// DATABASE: a SQLite file or the URL of a PostgreSQL server, filled by data.py. Prints a line of JSON. All contenders
/// read the same pages or chunks, decode rows with the same code, and do the same job. The whole run is one
/// transaction.
#include "by_hand.hpp"
#include "databases.hpp"
#include "rows.hpp"
#include "streams.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <fstream>

namespace {

constexpr std::size_t chunk_size = 2'000;

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

// ---- bookshop: two relations of every book -------------------------------------------------------------------------

constexpr const char* books = "select id, author_id, publisher_id, title from book";

template <template <class> class To, class From>
Book<To> read_book(const From& from) {
    return {from.template get<std::int64_t>(0), from.template get<std::int64_t>(1), from.template get<std::int64_t>(2),
            from.template get<std::string>(3)};
}

class Shelf {
public:
    template <class Some>
    void add(const std::vector<Some>& chunk) {
        for (const Some& book : chunk) {
            const std::size_t length = book.author->name.size() + 3 * book.author->email.size() +
                                       5 * book.publisher->name.size() + 7 * book.publisher->country.size();
            m_sum += static_cast<std::uint64_t>(book.id) *
                     (static_cast<std::uint64_t>(book.author->id + 11 * book.publisher->id) + length);
        }
    }
    [[nodiscard]] std::uint64_t checksum() const { return m_sum; }

private:
    std::uint64_t m_sum = 0;
};

template <class Database>
std::uint64_t bookshop_one(Database& database) {
    auto author = one<Author>(database);
    auto publisher = one<Publisher>(database);
    one_query_per_row<Author> authors;
    one_query_per_row<Publisher> publishers;
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<pointer, typename Database::row>, &Book<pointer>::id)) {
        authors.attach(chunk, &Book<pointer>::author_id, &Book<pointer>::author, author);
        publishers.attach(chunk, &Book<pointer>::publisher_id, &Book<pointer>::publisher, publisher);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <class Database>
std::uint64_t bookshop_join(Database& database) {
    const std::string sql = "select b.id as id, b.author_id, b.publisher_id, b.title, a.id as author, a.name, a.email, "
                            "p.id as publisher, p.name as publisher_name, p.country from book b "
                            "left join author a on a.id = b.author_id left join publisher p on p.id = b.publisher_id";
    auto read = [](const typename Database::row& from) {
        auto book = read_book<std::optional>(from);
        book.author = joined<Author>(from, 4);
        book.publisher = joined<Publisher>(from, 7);
        return book;
    };
    Shelf shelf;
    for (auto& chunk : database.pages(sql, read, &Book<std::optional>::id)) {
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <template <class> class Rows, class Database>
std::uint64_t bookshop_in(Database& database) {
    lookup<Author, Rows> authors(fetch<Author>(database));
    lookup<Publisher, Rows> publishers(fetch<Publisher>(database));
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<pointer, typename Database::row>, &Book<pointer>::id)) {
        authors.attach(chunk, &Book<pointer>::author_id, &Book<pointer>::author);
        publishers.attach(chunk, &Book<pointer>::publisher_id, &Book<pointer>::publisher);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <class Database>
std::uint64_t bookshop_memo(Database& database) {
    mp::memo authors{&Author::id, fetch<Author>(database), {.entries = 20'000}};
    mp::memo publishers{&Publisher::id, fetch<Publisher>(database)};
    mp::prefetcher<Book<shared>> relations{
        mp::to_one(authors, &Book<shared>::author_id, &Book<shared>::author),
        mp::to_one(publishers, &Book<shared>::publisher_id, &Book<shared>::publisher)};
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<shared, typename Database::row>, &Book<shared>::id)) {
        relations.process_chunk(chunk);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

// ---- flights: the report of examples/cpp, with the airlines of every destination -----------------------------------

constexpr const char* flights = "select id, distance, carrier, dest, tailnum from flight";
constexpr const char* links = "select airport, airline from serves where airport";

template <class Some, class From>
Some read_flight(const From& from) {
    return {from.template get<std::int64_t>(0), from.template get<int>(1), from.template get<std::string>(2),
            from.template get<std::string>(3), from.template get<std::optional<std::string>>(4)};
}

template <class Database>
void flights_one(Database& database, Report& report) {
    using Flown = BareFlight<pointer>;
    auto airline = one<Airline>(database);
    auto airport = one<BareAirport>(database);
    auto plane = one<Plane>(database);
    auto served = database.for_key("select carrier, name from serves join airline on carrier = airline where airport" +
                                   std::string(Database::is_key));
    one_query_per_row<Airline> airlines;
    one_query_per_row<BareAirport> airports;
    one_query_per_row<Plane> planes;
    std::deque<Airline> serving;
    for (auto& chunk : database.pages(flights, read_flight<Flown, typename Database::row>, &Flown::id)) {
        airlines.attach(chunk, &Flown::carrier_id, &Flown::airline, airline);
        airports.attach(chunk, &Flown::dest_id, &Flown::dest, airport);
        serving.clear();
        for (BareAirport& one : airports.rows()) {
            served(one.faa, [&](const auto& from) {
                one.airlines.push_back(&serving.emplace_back(table<Airline>::read(from)));
            });
        }
        planes.attach(chunk, &Flown::plane_id, &Flown::plane, plane);
        report.add(chunk);
    }
}

/// Airports by hand, with the airlines that serve them.
template <template <class> class Rows, class Database>
class airport_lookup {
public:
    explicit airport_lookup(Database& database)
        : m_fetch(fetch<BareAirport>(database)),
          m_links(database.template fetch_links<std::string, std::string>(links + std::string(Database::is_a_key))),
          m_airlines(fetch<Airline>(database)),
          m_airports([this](std::span<const std::string> keys) { return fetch_airports(keys); }) {}
    airport_lookup(const airport_lookup&) = delete;
    airport_lookup& operator=(const airport_lookup&) = delete;

    template <class Object>
    void attach(std::vector<Object>& chunk) {
        m_airports.attach(chunk, &Object::dest_id, &Object::dest);
    }

private:
    struct link {
        std::string airport, airline_id;
        const Airline* airline = nullptr;
    };
    std::vector<BareAirport> fetch_airports(std::span<const std::string> keys) {
        std::vector<BareAirport> rows = m_fetch(keys);
        std::vector<link> found;
        for (auto& [airport, airline] : m_links(keys)) {
            found.push_back({std::move(airport), std::move(airline)});
        }
        m_airlines.attach(found, &link::airline_id, &link::airline);
        absl::flat_hash_map<std::string_view, BareAirport*> by_key;
        for (BareAirport& row : rows) {
            by_key.emplace(row.faa, &row);
        }
        for (const link& one : found) {
            if (const auto at = by_key.find(one.airport); at != by_key.end() && one.airline != nullptr) {
                at->second->airlines.push_back(one.airline);
            }
        }
        return rows;
    }

    by_hand::fetch<BareAirport> m_fetch;
    std::function<std::vector<std::pair<std::string, std::string>>(std::span<const std::string>)> m_links;
    lookup<Airline, Rows> m_airlines;
    lookup<BareAirport, Rows> m_airports;
};

/// Joining a to-many relation would repeat flights, so that relation is fetched for each chunk.
template <class Database>
void flights_join(Database& database, Report& report) {
    using Flown = BareFlight<std::optional>;
    const std::string sql =
        "select f.id as id, f.distance, f.carrier, f.dest, f.tailnum, a.carrier as airline, a.name, "
        "p.tailnum as plane, p.year from flight f left join airline a on a.carrier = f.carrier "
        "left join plane p on p.tailnum = f.tailnum";
    auto read = [](const typename Database::row& from) {
        auto flight = read_flight<Flown>(from);
        flight.airline = joined<Airline>(from, 5);
        flight.plane = joined<Plane>(from, 7);
        return flight;
    };
    airport_lookup<by_hand::rows_of_chunk, Database> airports(database);
    for (auto& chunk : database.pages(sql, read, &Flown::id)) {
        airports.attach(chunk);
        report.add(chunk);
    }
}

template <template <class> class Rows, class Database>
void flights_in(Database& database, Report& report) {
    using Flown = BareFlight<pointer>;
    lookup<Airline, Rows> airlines(fetch<Airline>(database));
    airport_lookup<Rows, Database> airports(database);
    lookup<Plane, Rows> planes(fetch<Plane>(database));
    for (auto& chunk : database.pages(flights, read_flight<Flown, typename Database::row>, &Flown::id)) {
        airlines.attach(chunk, &Flown::carrier_id, &Flown::airline);
        airports.attach(chunk);
        planes.attach(chunk, &Flown::plane_id, &Flown::plane);
        report.add(chunk);
    }
}

template <class Database>
void flights_memo(Database& database, Report& report) {
    using row = typename Database::row;
    mp::memo airlines{&Airline::carrier, fetch<Airline>(database)};
    mp::memo planes{&Plane::tailnum, fetch<Plane>(database), {.entries = 2'000}};
    mp::links airport_airlines{
        database.template fetch_links<std::string, std::string>(links + std::string(Database::is_a_key)), airlines};
    mp::prefetcher<Airport> airport_relations{mp::to_many(airport_airlines, &Airport::faa, &Airport::airlines)};
    auto read_airport = [](const row& from) {
        return Airport{from.template get<std::string>(0), from.template get<std::string>(1)};
    };
    mp::memo airports{&Airport::faa,
                      database.template fetch<std::string>(table<BareAirport>::select + std::string(Database::is_a_key),
                                                           read_airport),
                      {},
                      airport_relations};
    mp::prefetcher<Flight> relations{mp::to_one(airlines, &Flight::carrier_id, &Flight::airline),
                                     mp::to_one(airports, &Flight::dest_id, &Flight::dest),
                                     mp::to_one(planes, &Flight::plane_id, &Flight::plane)};
    for (auto& chunk : database.pages(flights, read_flight<Flight, row>, &Flight::id)) {
        relations.process_chunk(chunk);
        report.add(chunk);
    }
}

// ---- zipf, uniform: a stream in memory, and a large table ----------------------------------------------------------

class Basket {
public:
    template <class Some>
    void add(const std::vector<Some>& chunk) {
        for (const Some& item : chunk) {
            const Related& row = *item.related;
            const double price = row.price * row.quantity - row.discount.value_or(0);
            const std::size_t length = row.code.size() + 3 * row.name.size() + 5 * (row.note ? row.note->size() : 1);
            m_sum += static_cast<std::uint64_t>(row.id + row.parent.value_or(7) + row.created + (row.active ? 13 : 0));
            m_sum = 31 * m_sum + length + static_cast<std::uint64_t>(static_cast<std::int64_t>(price));
        }
    }
    [[nodiscard]] std::uint64_t checksum() const { return m_sum; }

private:
    std::uint64_t m_sum = 0;
};

/// Calls `resolve(chunk)` for every chunk of the stream, and does the job.
template <template <class> class To, class Resolve>
std::uint64_t baskets(const std::vector<std::uint32_t>& keys, Resolve&& resolve) {
    Basket basket;
    std::vector<Item<To>> chunk;
    for (std::size_t first = 0; first < keys.size(); first += chunk_size) {
        chunk.clear();
        for (std::size_t at = first; at < std::min(keys.size(), first + chunk_size); ++at) {
            chunk.push_back({keys[at]});
        }
        resolve(chunk);
        basket.add(chunk);
    }
    return basket.checksum();
}

template <class Database>
std::uint64_t stream_one(Database& database, const std::vector<std::uint32_t>& keys) {
    auto ask = one<Related>(database);
    one_query_per_row<Related> rows;
    return baskets<pointer>(keys, [&](std::vector<Item<pointer>>& chunk) {
        rows.attach(chunk, &Item<pointer>::related_id, &Item<pointer>::related, ask);
    });
}

/// The objects are not in a table, so the keys of a chunk are joined.
template <class Database>
std::uint64_t stream_join(Database& database, const std::vector<std::uint32_t>& keys) {
    auto ask = database.template for_keys<std::int64_t>(
        "select at, id, code, name, note, price, discount, quantity, parent, active, created from " +
        std::string(Database::keys) + " left join related on id = value");
    std::vector<std::int64_t> asked;
    return baskets<std::optional>(keys, [&](std::vector<Item<std::optional>>& chunk) {
        asked.clear();
        for (const auto& item : chunk) {
            asked.push_back(item.related_id);
        }
        ask(asked, [&](const typename Database::row& from) {
            chunk[from.template get<std::size_t>(0)].related = joined<Related>(from, 1);
        });
    });
}

template <template <class> class Rows, class Database>
std::uint64_t stream_in(Database& database, const std::vector<std::uint32_t>& keys) {
    lookup<Related, Rows> rows(fetch<Related>(database));
    return baskets<pointer>(keys, [&](std::vector<Item<pointer>>& chunk) {
        rows.attach(chunk, &Item<pointer>::related_id, &Item<pointer>::related);
    });
}

template <class Database>
std::uint64_t stream_memo(Database& database, const std::vector<std::uint32_t>& keys, std::size_t entries) {
    mp::memo rows{&Related::id, fetch<Related>(database), {.entries = entries}};
    mp::prefetcher<Item<shared>> relations{mp::to_one(rows, &Item<shared>::related_id, &Item<shared>::related)};
    return baskets<shared>(keys, [&](std::vector<Item<shared>>& chunk) { relations.process_chunk(chunk); });
}

// ---- one run -------------------------------------------------------------------------------------------------------

enum class contender { one, join, in, map, memo };

contender contender_of(const std::string& name) {
    for (const auto& [known, one] :
         {std::pair("one", contender::one), std::pair("join", contender::join), std::pair("in", contender::in),
          std::pair("map", contender::map), std::pair("memo", contender::memo)}) {
        if (name == known) {
            return one;
        }
    }
    throw std::invalid_argument("no such contender: " + name);
}

template <class Database>
std::uint64_t bookshop(Database& database, contender which) {
    switch (which) {
    case contender::one:
        return bookshop_one(database);
    case contender::join:
        return bookshop_join(database);
    case contender::in:
        return bookshop_in<by_hand::rows_of_chunk>(database);
    case contender::map:
        return bookshop_in<by_hand::rows_ever_seen>(database);
    case contender::memo:
        return bookshop_memo(database);
    }
    return 0;
}
template <class Database>
void flown(Database& database, contender which, Report& report) {
    switch (which) {
    case contender::one:
        return flights_one(database, report);
    case contender::join:
        return flights_join(database, report);
    case contender::in:
        return flights_in<by_hand::rows_of_chunk>(database, report);
    case contender::map:
        return flights_in<by_hand::rows_ever_seen>(database, report);
    case contender::memo:
        return flights_memo(database, report);
    }
}
template <class Database>
std::uint64_t stream(Database& database, contender which, const std::vector<std::uint32_t>& keys, std::size_t entries) {
    switch (which) {
    case contender::one:
        return stream_one(database, keys);
    case contender::join:
        return stream_join(database, keys);
    case contender::in:
        return stream_in<by_hand::rows_of_chunk>(database, keys);
    case contender::map:
        return stream_in<by_hand::rows_ever_seen>(database, keys);
    case contender::memo:
        return stream_memo(database, keys, entries);
    }
    return 0;
}

/// This process's peak memory.
std::size_t peak_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) == 0) {
            return std::stoul(line.substr(6)) * 1024;
        }
    }
    return 0;
}

template <class Database>
void run(const std::string& place, const std::string& workload, contender which) {
    using seconds = std::chrono::duration<double>;
    Database database(place);
    const std::size_t rows = database.count("related");
    std::vector<std::uint32_t> keys;
    if (workload == "zipf" || workload == "uniform") {
        keys = streams::numbers(workload == "zipf" ? "zipf1.0" : "uniform", rows, rows * 2 / 5);
    } else if (workload != "bookshop" && workload != "flights") {
        throw std::invalid_argument("no such workload: " + workload);
    }
    Report report;
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t checksum = 0;
    if (workload == "bookshop") {
        checksum = bookshop(database, which);
    } else if (workload == "flights") {
        flown(database, which, report);
    } else {
        checksum = stream(database, which, keys, rows / 10);
    }
    const seconds spent = std::chrono::steady_clock::now() - start;
    if (workload == "flights") {
        report.print(); // the checksum of this workload
    }
    std::printf("{\"samples\": {\"seconds\": [%.6f], \"fetching\": [%.6f]}, \"queries\": %zu, \"checksum\": %llu, "
                "\"peak_bytes\": %zu}\n",
                spent.count(), seconds(database.spent.fetching).count(), database.spent.queries,
                static_cast<unsigned long long>(checksum), peak_bytes());
}

} // namespace

int main(int count, char** arguments) {
    if (count != 4) {
        std::fprintf(stderr, "usage: end_to_end DATABASE bookshop|flights|zipf|uniform one|join|in|map|memo\n");
        return 2;
    }
    try {
        const std::string place = arguments[1];
        const contender which = contender_of(arguments[3]);
        if (place.rfind("postgres", 0) == 0) {
            run<databases::postgresql>(place, arguments[2], which);
        } else {
            run<databases::sqlite>(place, arguments[2], which);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "end_to_end: %s\n", error.what());
        return 1;
    }
}
