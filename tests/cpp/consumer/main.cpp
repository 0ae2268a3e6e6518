// A program outside this project builds from the installed library, and works.
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mp = memoized_prefetch;

struct airport {
    std::string code;
};
struct flight {
    std::string origin_code;
    std::shared_ptr<const airport> origin = {};
};

int main() {
    int queries = 0;
    mp::memo airports{&airport::code,
                      [&queries](std::span<const std::string> codes) {
                          ++queries;
                          std::vector<airport> rows;
                          for (const std::string& code : codes) {
                              rows.push_back({code});
                          }
                          return rows;
                      },
                      {.entries = 100}};
    mp::prefetcher<flight> flights{mp::to_one(airports, &flight::origin_code, &flight::origin)};
    for (int chunk = 0; chunk < 2; ++chunk) {
        std::vector<flight> rows{{"JFK"}, {"EWR"}, {"JFK"}};
        flights.process_chunk(rows);
        if (rows[2].origin->code != "JFK" || rows[2].origin != rows[0].origin) {
            return 1;
        }
    }
    return queries == 1 ? 0 : 1;
}
