/// flights: the report of examples/cpp, with the airlines of every destination.
#pragma once

#include "../by_hand.hpp"
#include "../rows.hpp"
#include "queries.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace workloads {

inline constexpr const char* flights = "select id, distance, carrier, dest, tailnum from flight";
inline constexpr const char* links = "select airport, airline from serves where airport";

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

} // namespace workloads
