/// A job with a database that gets related rows in one way: end_to_end DATABASE WORKLOAD CONTENDER
///
/// DATABASE: a SQLite file or the URL of a PostgreSQL server, filled by data.py. Prints a line of JSON. All contenders
/// read the same pages or chunks, decode rows with the same code, and do the same job. The whole run is one
/// transaction.
#include "by_hand.hpp"
#include "databases.hpp"
#include "rows.hpp"
#include "streams.hpp"
#include "workloads/bookshop.hpp"
#include "workloads/flights.hpp"
#include "workloads/stream.hpp"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

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
        return workloads::bookshop_one(database);
    case contender::join:
        return workloads::bookshop_join(database);
    case contender::in:
        return workloads::bookshop_in<by_hand::rows_of_chunk>(database);
    case contender::map:
        return workloads::bookshop_in<by_hand::rows_ever_seen>(database);
    case contender::memo:
        return workloads::bookshop_memo(database);
    }
    return 0;
}
template <class Database>
void flown(Database& database, contender which, Report& report) {
    switch (which) {
    case contender::one:
        return workloads::flights_one(database, report);
    case contender::join:
        return workloads::flights_join(database, report);
    case contender::in:
        return workloads::flights_in<by_hand::rows_of_chunk>(database, report);
    case contender::map:
        return workloads::flights_in<by_hand::rows_ever_seen>(database, report);
    case contender::memo:
        return workloads::flights_memo(database, report);
    }
}
template <class Database>
std::uint64_t stream(Database& database, contender which, const std::vector<std::uint32_t>& keys, std::size_t entries) {
    switch (which) {
    case contender::one:
        return workloads::stream_one(database, keys);
    case contender::join:
        return workloads::stream_join(database, keys);
    case contender::in:
        return workloads::stream_in<by_hand::rows_of_chunk>(database, keys);
    case contender::map:
        return workloads::stream_in<by_hand::rows_ever_seen>(database, keys);
    case contender::memo:
        return workloads::stream_memo(database, keys, entries);
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
