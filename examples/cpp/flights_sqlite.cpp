/// A report per airline over the flights in a SQLite file, made by script/demo-cpp: flights_sqlite FILE
#include "flights.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>
#include <memoized_prefetch/sqlite.hpp>

namespace mp = memoized_prefetch;
using mp::sqlite::row;

namespace {

void report(SQLite::Database& database) {
    // A memo is one table: the key of a row, how to fetch rows by their keys, and how many to keep.
    mp::memo airlines{&Airline::carrier,
                      mp::sqlite::fetch(database,
                                        "select carrier, name from flights_airline "
                                        "where carrier in (select value from json_each(?))",
                                        [](const row& from) {
                                            return Airline{from.get<std::string>(0), from.get<std::string>(1)};
                                        })};
    mp::memo planes{&Plane::tailnum,
                    mp::sqlite::fetch(database,
                                      "select tailnum, year from flights_plane "
                                      "where tailnum in (select value from json_each(?))",
                                      [](const row& from) {
                                          return Plane{from.get<std::string>(0), from.get<std::optional<int>>(1)};
                                      }),
                    {.entries = 2'000}};
    // Links say which airlines belong to an airport. An airport gets them when it is fetched.
    mp::links airport_airlines{mp::sqlite::fetch_links<std::string, std::string>(
                                   database, "select airport_id, airline_id from flights_airport_airlines "
                                             "where airport_id in (select value from json_each(?))"),
                               airlines};
    mp::prefetcher<Airport> airport_relations{mp::to_many(airport_airlines, &Airport::faa, &Airport::airlines)};
    mp::memo airports{&Airport::faa,
                      mp::sqlite::fetch(database,
                                        "select faa, name from flights_airport "
                                        "where faa in (select value from json_each(?))",
                                        [](const row& from) {
                                            return Airport{from.get<std::string>(0), from.get<std::string>(1)};
                                        }),
                      {},
                      airport_relations};
    // A prefetcher says which rows to attach to a flight, and where.
    mp::prefetcher<Flight> relations{mp::to_one(airlines, &Flight::carrier_id, &Flight::airline),
                                     mp::to_one(airports, &Flight::dest_id, &Flight::dest),
                                     mp::to_one(planes, &Flight::plane_id, &Flight::plane)};

    Report report;
    auto to_flight = [](const row& from) {
        return Flight{from.get<std::int64_t>(0), from.get<int>(1), from.get<std::string>(2), from.get<std::string>(3),
                      from.get<std::optional<std::string>>(4)};
    };
    for (std::vector<Flight>& chunk :
         mp::sqlite::pages(database, "select id, distance, carrier_id, dest_id, plane_id from flights_flight", "id",
                           to_flight, &Flight::id)) {
        relations.process_chunk(chunk);
        report.add(chunk);
    }
    report.print();
    std::fprintf(stderr, "queries: airlines %zu, airports %zu with links %zu, planes %zu\n",
                 static_cast<std::size_t>(airlines.stats().queries), static_cast<std::size_t>(airports.stats().queries),
                 static_cast<std::size_t>(airport_airlines.stats().queries),
                 static_cast<std::size_t>(planes.stats().queries));
}

} // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: flights_sqlite FILE\n");
        return 2;
    }
    try {
        SQLite::Database database(arguments[1]);
        report(database);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "flights_sqlite: %s\n", error.what());
        return 1;
    }
}
