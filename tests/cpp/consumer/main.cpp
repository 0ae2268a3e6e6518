// A program outside of this project: it builds from what is installed, and works.
#include <memoized_prefetch/memoized_prefetch.hpp>

#include <memory>
#include <string>

namespace mp = memoized_prefetch;

struct airport {
    std::string code;
};
using airport_memo = mp::memo_table<std::string, std::shared_ptr<const airport>>;

struct airports {
    int queries = 0;
    template <class Take>
    void fetch(const std::vector<std::string>& asked, Take&& take) {
        ++queries;
        for (const std::string& code : asked) {
            take(std::make_shared<const airport>(airport{code}));
        }
    }
    static std::string key_of(const std::shared_ptr<const airport>& row) { return row->code; }
    static bool valid(const std::shared_ptr<const airport>&, const std::string&) { return true; }
};

int main() {
    airport_memo memo(100);
    airports source;
    for (int chunk = 0; chunk < 2; ++chunk) {
        mp::key_resolution<airport_memo> rows(memo);
        const mp::slot_id jfk = rows.ask("JFK", 0);
        rows.resolve(source);
        if (rows.handle(jfk)->code != "JFK") {
            return 1;
        }
        mp::counters count;
        rows.commit({&count, 1});
    }
    return source.queries == 1 ? 0 : 1;
}
