/// Rows, entries and the tables that hold them: a list from the newest entry to the oldest.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace support::naive_memos {

using id = std::int64_t;
using memoized_prefetch::counters;
inline constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

/// Errors that the library reports by exceptions.
struct broken_call {};
struct misuse {};

struct row;
using row_ptr = std::shared_ptr<row>;
/// An object of a chunk, a row of a table, or both.
struct row {
    inline static thread_local std::size_t alive = 0;

    id key = 0;
    id serial = 0;
    std::vector<std::optional<id>> keys{};        // by relation
    std::vector<std::vector<row_ptr>> attached{}; // by relation

    row() { ++alive; }
    row(const row&) = delete;
    row& operator=(const row&) = delete;
    ~row() { --alive; }
};

/// A row or its absence; or the links of a source.
struct entry {
    id key;
    row_ptr value{};
    std::vector<id> targets{};
    std::size_t weight = 0;
    int pins = 0;
    bool living = true;
};
using entry_ptr = std::shared_ptr<entry>;

struct table {
    std::list<entry_ptr> newest_first{};
    std::size_t bound = unbounded;
    std::size_t weight_bound = unbounded;
    std::uint64_t generation = 0;
    std::size_t largest = 0;
    std::set<id> had{}; // keys fetched or loaded since they were last forgotten
    std::uint64_t fetched_again = 0;

    entry_ptr find(id key) const {
        for (const entry_ptr& one : newest_first) {
            if (one->key == key) {
                return one;
            }
        }
        return nullptr;
    }
    entry_ptr add(entry one) {
        newest_first.push_front(std::make_shared<entry>(std::move(one)));
        return newest_first.front();
    }
    void erase(const entry_ptr& one) {
        one->living = false;
        newest_first.remove(one);
    }
    void use(const entry_ptr& one) {
        if (one && one->living) {
            newest_first.remove(one);
            newest_first.push_front(one);
        }
    }
    void fetched(id key) { fetched_again += had.insert(key).second ? 0 : 1; }
    void forget(id key) {
        ++generation;
        had.erase(key);
        if (const entry_ptr found = find(key)) {
            erase(found);
        }
    }
    void forget_all() {
        ++generation;
        had.clear();
        while (!newest_first.empty()) {
            erase(entry_ptr(newest_first.front()));
        }
    }
    std::size_t weight() const {
        std::size_t sum = 0;
        for (const entry_ptr& one : newest_first) {
            sum += one->weight;
        }
        return sum;
    }
    std::size_t trim() {
        std::size_t evicted = 0;
        while (newest_first.size() > bound || weight() > weight_bound) {
            const auto oldest = std::find_if(newest_first.rbegin(), newest_first.rend(),
                                             [](const entry_ptr& one) { return one->pins == 0; });
            if (oldest == newest_first.rend()) {
                break;
            }
            erase(entry_ptr(*oldest));
            ++evicted;
        }
        largest = std::max(largest, newest_first.size());
        return evicted;
    }
};

} // namespace support::naive_memos
