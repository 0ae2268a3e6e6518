/// The rows of the benchmark with a database: their structs, and how they are selected and read.
#pragma once

#include "../../examples/cpp/flights.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

template <class Row>
using pointer = const Row*;
template <class Row>
using shared = std::shared_ptr<const Row>;

struct Author {
    std::int64_t id;
    std::string name, email;
};
struct Publisher {
    std::int64_t id;
    std::string name, country;
};
/// `To`: a pointer, a shared pointer, or, for a join, the row itself.
template <template <class> class To>
struct Book {
    std::int64_t id, author_id, publisher_id;
    std::string title;
    To<Author> author = {};
    To<Publisher> publisher = {};
};
struct Related {
    std::int64_t id;
    std::string code, name;
    std::optional<std::string> note;
    double price;
    std::optional<double> discount;
    int quantity;
    std::optional<std::int64_t> parent;
    bool active;
    std::int64_t created;
};
template <template <class> class To>
struct Item {
    std::int64_t related_id;
    To<Related> related = {};
};
/// By hand, the rows related to an airport are stored in the same place as the airports.
struct BareAirport {
    std::string faa, name;
    std::vector<const Airline*> airlines = {};
};
template <template <class> class To>
struct BareFlight {
    std::int64_t id = 0;
    int distance = 0;
    std::string carrier_id, dest_id;
    std::optional<std::string> plane_id;
    To<Airline> airline = {};
    const BareAirport* dest = nullptr;
    To<Plane> plane = {};
};

namespace by_hand {

/// A table: `key_type`, `key_of`, `select` up to the condition on the key, and `read(row, first column)`.
template <class Row>
struct table;
template <class Row>
using key_of_row = typename table<Row>::key_type;

template <>
struct table<Author> {
    using key_type = std::int64_t;
    static constexpr auto key_of = &Author::id;
    static constexpr const char* select = "select id, name, email from author where id";
    template <class From>
    static Author read(const From& from, int at = 0) {
        return {from.template get<std::int64_t>(at), from.template get<std::string>(at + 1),
                from.template get<std::string>(at + 2)};
    }
};
template <>
struct table<Publisher> {
    using key_type = std::int64_t;
    static constexpr auto key_of = &Publisher::id;
    static constexpr const char* select = "select id, name, country from publisher where id";
    template <class From>
    static Publisher read(const From& from, int at = 0) {
        return {from.template get<std::int64_t>(at), from.template get<std::string>(at + 1),
                from.template get<std::string>(at + 2)};
    }
};
template <>
struct table<Related> {
    using key_type = std::int64_t;
    static constexpr auto key_of = &Related::id;
    static constexpr const char* select =
        "select id, code, name, note, price, discount, quantity, parent, active, created from related where id";
    template <class From>
    static Related read(const From& from, int at = 0) {
        return {from.template get<std::int64_t>(at),    from.template get<std::string>(at + 1),
                from.template get<std::string>(at + 2), from.template get<std::optional<std::string>>(at + 3),
                from.template get<double>(at + 4),      from.template get<std::optional<double>>(at + 5),
                from.template get<int>(at + 6),         from.template get<std::optional<std::int64_t>>(at + 7),
                from.template get<bool>(at + 8),        from.template get<std::int64_t>(at + 9)};
    }
};
template <>
struct table<Airline> {
    using key_type = std::string;
    static constexpr auto key_of = &Airline::carrier;
    static constexpr const char* select = "select carrier, name from airline where carrier";
    template <class From>
    static Airline read(const From& from, int at = 0) {
        return {from.template get<std::string>(at), from.template get<std::string>(at + 1)};
    }
};
template <>
struct table<BareAirport> {
    using key_type = std::string;
    static constexpr auto key_of = &BareAirport::faa;
    static constexpr const char* select = "select faa, name from airport where faa";
    template <class From>
    static BareAirport read(const From& from, int at = 0) {
        return {from.template get<std::string>(at), from.template get<std::string>(at + 1)};
    }
};
template <>
struct table<Plane> {
    using key_type = std::string;
    static constexpr auto key_of = &Plane::tailnum;
    static constexpr const char* select = "select tailnum, year from plane where tailnum";
    template <class From>
    static Plane read(const From& from, int at = 0) {
        return {from.template get<std::string>(at), from.template get<std::optional<int>>(at + 1)};
    }
};

} // namespace by_hand
