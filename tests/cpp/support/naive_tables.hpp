/// The tables and passes again, as simple as possible: lists that are searched from end to end. The oracle of the
/// random scripts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <vector>

namespace support::naive {

using id = std::int64_t;

/// What both sides read from: key -> version of the row, source -> targets.
struct database {
    std::map<id, int> rows;
    std::map<id, std::vector<id>> links;
};

struct row {
    int version;
    bool stale = false;
};

/// A remembered row (or its absence), or a source's links.
struct entry {
    id key;
    std::shared_ptr<row> value;
    std::vector<id> targets;
    int pins = 0;
    bool living = true;
};
using entry_ptr = std::shared_ptr<entry>;

struct table {
    std::list<entry_ptr> newest_first;
    std::size_t bound;
    std::uint64_t generation = 0;

    explicit table(std::size_t the_bound) : bound(the_bound) {}

    entry_ptr find(id key) {
        for (const entry_ptr& one : newest_first) {
            if (one->key == key) {
                return one;
            }
        }
        return nullptr;
    }
    void erase(const entry_ptr& one) {
        one->living = false;
        newest_first.remove(one);
    }
    void touch(const entry_ptr& one) {
        if (one->living) {
            newest_first.remove(one);
            newest_first.push_front(one);
        }
    }
    entry_ptr add(entry one) {
        newest_first.push_front(std::make_shared<entry>(std::move(one)));
        return newest_first.front();
    }
    void clear() {
        ++generation;
        while (!newest_first.empty()) {
            erase(newest_first.front());
        }
    }
    void trim() {
        while (newest_first.size() > bound) {
            const auto oldest = std::find_if(newest_first.rbegin(), newest_first.rend(),
                                             [](const entry_ptr& one) { return one->pins == 0; });
            if (oldest == newest_first.rend()) {
                return;
            }
            erase(entry_ptr(*oldest));
        }
    }
};

/// The entries of one table that one chunk uses.
struct use_of {
    table& used;
    std::uint64_t generation = used.generation;
    std::vector<entry_ptr> pinned{};
    std::vector<entry_ptr> added{};

    void pin(const entry_ptr& one) {
        ++one->pins;
        pinned.push_back(one);
    }
    void end(bool committed) {
        for (const entry_ptr& one : added) {
            if (!committed && one->living && one->pins == 1) {
                used.erase(one);
            }
        }
        for (const entry_ptr& one : pinned) {
            --one->pins;
        }
        used.trim();
    }
};

/// The rows of one chunk. The query is made by the caller, between `look_up` and `admit`.
struct rows_pass {
    use_of memo;
    std::vector<id> asked{}; // distinct
    std::vector<id> missed{};
    std::map<id, entry_ptr> entries{};
    std::map<id, std::shared_ptr<row>> values{};
    std::size_t fetched = 0;

    void ask(id key) {
        if (std::find(asked.begin(), asked.end(), key) == asked.end()) {
            asked.push_back(key);
        }
    }
    /// Asks for missing rows first, then for stale ones.
    void look_up() {
        std::vector<id> stale;
        for (const id key : asked) {
            const entry_ptr found = memo.used.find(key);
            if (found) {
                memo.pin(found);
            }
            if (found && found->value && found->value->stale) {
                memo.used.erase(found);
                stale.push_back(key);
            } else if (found) {
                entries[key] = found;
                values[key] = found->value;
            } else {
                missed.push_back(key);
            }
        }
        missed.insert(missed.end(), stale.begin(), stale.end());
    }
    void admit(const database& data) {
        for (const id key : missed) {
            const auto found = data.rows.find(key);
            values[key] = found == data.rows.end() ? nullptr : std::make_shared<row>(row{found->second});
            fetched += values[key] ? 1U : 0U;
        }
        if (memo.used.generation != memo.generation) {
            return;
        }
        for (const id key : missed) {
            entry_ptr there = memo.used.find(key);
            if (there && values[key] && !there->value) {
                memo.used.erase(there);
                there = nullptr;
            }
            if (!there) {
                there = memo.used.add({key, values[key], {}});
                memo.added.push_back(there);
            } else if (values[key]) {
                values[key] = there->value;
            }
            memo.pin(there);
            entries[key] = there;
        }
    }
    void use(id key) {
        if (entries[key]) {
            memo.used.touch(entries[key]);
        }
    }
};

/// The links of one chunk, and their rows. Call `read_links` after the query for `missed`.
struct links_pass {
    use_of links;
    rows_pass rows;
    std::vector<id> asked{};
    std::vector<id> missed{};
    std::map<id, entry_ptr> entries{};
    std::map<id, std::vector<id>> targets{};

    void ask(id key) {
        if (std::find(asked.begin(), asked.end(), key) == asked.end()) {
            asked.push_back(key);
        }
    }
    void look_up() {
        for (const id key : asked) {
            if (const entry_ptr found = links.used.find(key)) {
                links.pin(found);
                entries[key] = found;
                targets[key] = found->targets;
                for (const id target : found->targets) {
                    rows.ask(target);
                }
            } else {
                missed.push_back(key);
            }
        }
    }
    void read_links(const database& data) {
        for (const auto& [source, its_targets] : data.links) {
            if (std::find(missed.begin(), missed.end(), source) != missed.end()) {
                targets[source] = its_targets;
                for (const id target : its_targets) {
                    rows.ask(target);
                }
            }
        }
    }
    void admit() {
        if (links.used.generation != links.generation) {
            return;
        }
        for (const id key : missed) {
            entry_ptr there = links.used.find(key);
            if (!there) {
                there = links.used.add({key, nullptr, targets[key]});
                links.added.push_back(there);
            }
            links.pin(there);
            entries[key] = there;
        }
    }
    void use(id key) {
        if (entries[key]) {
            links.used.touch(entries[key]);
        }
        for (const id target : targets[key]) {
            rows.use(target);
        }
    }
};

} // namespace support::naive
