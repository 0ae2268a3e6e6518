/// A report per airline over the flights on PostgreSQL, loaded by `script/demo-cpp --postgres`: flights_postgresql URL
#include "flights.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>
#include <memoized_prefetch/postgresql.hpp>

namespace mp = memoized_prefetch;
using mp::postgresql::row;

namespace {

void report(PGconn* database) {
    // A memo is one table: the key of a row, how to fetch rows by their keys, and how many to keep.
    mp::memo airlines{&Airline::carrier,
                      mp::postgresql::fetch(database,
                                            "select carrier, name from flights_airline "
                                            "where carrier = any($1)",
                                            [](const row& from) {
                                                return Airline{from.get<std::string>(0), from.get<std::string>(1)};
                                            })};
    mp::memo planes{&Plane::tailnum,
                    mp::postgresql::fetch(database,
                                          "select tailnum, year from flights_plane "
                                          "where tailnum = any($1)",
                                          [](const row& from) {
                                              return Plane{from.get<std::string>(0), from.get<std::optional<int>>(1)};
                                          }),
                    {.entries = 2'000}};
    // Links say which airlines belong to an airport. An airport gets them when it is fetched.
    mp::links airport_airlines{mp::postgresql::fetch_links<std::string, std::string>(
                                   database, "select airport_id, airline_id from flights_airport_airlines "
                                             "where airport_id = any($1)"),
                               airlines};
    mp::prefetcher<Airport> airport_relations{mp::to_many(airport_airlines, &Airport::faa, &Airport::airlines)};
    mp::memo airports{&Airport::faa,
                      mp::postgresql::fetch(database,
                                            "select faa, name from flights_airport "
                                            "where faa = any($1)",
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
         mp::postgresql::pages(database, "select id, distance, carrier_id, dest_id, plane_id from flights_flight", "id",
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
        std::fprintf(stderr, "usage: flights_postgresql URL\n");
        return 2;
    }
    try {
        const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(arguments[1]), PQfinish);
        if (PQstatus(connection.get()) != CONNECTION_OK) {
            throw std::runtime_error(PQerrorMessage(connection.get()));
        }
        report(connection.get());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "flights_postgresql: %s\n", error.what());
        return 1;
    }
}
