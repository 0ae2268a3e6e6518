/// A handful of flights for the reports of examples/cpp, and the expected report. script/demo-cpp uses the whole year.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

namespace flights {

inline constexpr const char* tables = R"(
create table flights_airline (carrier varchar(2) primary key, name text);
create table flights_airport (faa varchar(3) primary key, name text);
create table flights_plane (tailnum varchar(6) primary key, year integer);
create table flights_flight (id integer primary key, distance integer, carrier_id varchar(2), dest_id varchar(3), plane_id varchar(6));
create table flights_airport_airlines (airport_id varchar(3), airline_id varchar(2));
insert into flights_airline values ('AA', 'American'), ('B6', 'JetBlue');
insert into flights_airport values ('JFK', 'Kennedy'), ('MIA', 'Miami');
insert into flights_plane values ('N1', 2003), ('N2', null);
insert into flights_flight values (1, 1000, 'AA', 'MIA', 'N1'), (2, 1000, 'AA', 'MIA', null), (3, 1600, 'AA', 'SJU', 'N404'),
    (4, 1000, 'B6', 'MIA', 'N2');
insert into flights_airport_airlines values ('MIA', 'AA'), ('MIA', 'B6'), ('SJU', 'AA');
)";
inline constexpr const char* report = "                            flights  planes  mean age  mean miles  rivals\n"
                                      "AA American                       3       1      10.0       1,200  1\n"
                                      "B6 JetBlue                        1       0   unknown       1,000  1\n";

/// The standard output of a command.
inline std::string output_of(const std::string& command) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    std::string output;
    std::array<char, 4096> part{};
    for (std::size_t size = 0; (size = std::fread(part.data(), 1, part.size(), pipe.get())) != 0;) {
        output.append(part.data(), size);
    }
    return output;
}

} // namespace flights
