/// What both flight reports share: the rows as plain structs, and the report per airline, worded like the Python demo.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

struct Airline {
    std::string carrier, name;
};
struct Airport {
    std::string faa, name;
    std::vector<std::shared_ptr<const Airline>> airlines = {}; // that fly here
};
struct Plane {
    std::string tailnum;
    std::optional<int> year;
};
struct Flight {
    std::int64_t id = 0;
    int distance = 0; // miles
    std::string carrier_id, dest_id;
    std::optional<std::string> plane_id;
    std::shared_ptr<const Airline> airline = {};
    std::shared_ptr<const Airport> dest = {}; // null for the four airports missing in their table
    std::shared_ptr<const Plane> plane = {};  // null for the 721 planes missing in theirs, and for no plane_id
};

class Report {
public:
    template <class Flights>
    void add(const Flights& flights) {
        for (const auto& flight : flights) {
            Line& line = m_lines[flight.carrier_id];
            line.name = flight.airline->name;
            line.flights += 1;
            line.miles += flight.distance;
            if (flight.plane && flight.plane->year) {
                line.built[flight.plane->tailnum] = *flight.plane->year;
            }
            if (flight.dest) {
                for (const auto& other : flight.dest->airlines) {
                    line.rivals.insert(other->carrier);
                }
            }
        }
    }
    void print() {
        std::printf("%27s%8s%8s%10s%12s  rivals\n", "", "flights", "planes", "mean age", "mean miles");
        for (auto& [carrier, line] : m_lines) {
            line.rivals.erase(carrier);
            std::printf("%s %-24s%8s%8s%10s%12s  %zu\n", carrier.c_str(), line.name.substr(0, 23).c_str(),
                        thousands(line.flights).c_str(), thousands(std::ssize(line.built)).c_str(),
                        mean_age(line).c_str(), mean_miles(line).c_str(), line.rivals.size());
        }
    }

private:
    struct Line {
        std::string name = {};
        std::int64_t flights = 0;
        std::int64_t miles = 0;
        std::map<std::string, int> built = {}; // tail number -> year, if it is known
        std::set<std::string> rivals = {};     // the airlines that fly to one of its destinations
    };

    static std::string thousands(std::int64_t number) {
        std::string text = std::to_string(number);
        for (auto at = std::ssize(text) - 3; at > 0; at -= 3) {
            text.insert(static_cast<std::size_t>(at), 1, ',');
        }
        return text;
    }
    static std::string printed(const char* format, double value) {
        std::string text(32, '\0');
        text.resize(static_cast<std::size_t>(std::snprintf(text.data(), text.size(), format, value)));
        return text;
    }
    static std::string mean_age(const Line& line) {
        if (line.built.empty()) {
            return "unknown";
        }
        int sum = 0;
        for (const auto& [tailnum, year] : line.built) {
            sum += year;
        }
        return printed("%.1f", 2013 - static_cast<double>(sum) / static_cast<double>(line.built.size()));
    }
    static std::string mean_miles(const Line& line) {
        return thousands(
            std::stoll(printed("%.0f", static_cast<double>(line.miles) / static_cast<double>(line.flights))));
    }

    std::map<std::string, Line> m_lines; // by carrier
};
