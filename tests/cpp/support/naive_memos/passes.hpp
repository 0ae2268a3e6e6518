/// What a chunk does with one memo, and with the links to it: finds or fetches, pins, and at last counts or rolls back.
#pragma once

#include "memo.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace support::naive_memos {

/// The rows of a memo that one chunk, or one call of `resolve`, uses.
struct rows_pass {
    memo& of;
    std::vector<std::uint64_t> generations{};
    std::vector<std::pair<id, std::size_t>> asked{}; // distinct, each with the relation that asked first
    std::map<id, row_ptr> values{};
    std::map<id, entry_ptr> entries{};
    std::vector<id> missed{};
    std::vector<entry_ptr> pinned{};
    std::vector<entry_ptr> added{};
    std::size_t evicted_by_commit = 0;

    explicit rows_pass(memo& its_memo) : of(its_memo) {
        for (const table& one : of.shards) {
            generations.push_back(one.generation);
        }
    }
    void pin(const entry_ptr& one) {
        ++one->pins;
        pinned.push_back(one);
    }
    void ask(id key, std::size_t relation) {
        if (std::none_of(asked.begin(), asked.end(), [&](const auto& one) { return one.first == key; })) {
            asked.emplace_back(key, relation);
        }
    }
    void found(id key, const entry_ptr& one) {
        if (!of.shared) {
            pin(one);
        }
        entries[key] = one;
        values[key] = one->value;
    }
    void resolve();
    void fetch();
    /// The positions of `uses`, each at its last use.
    static std::vector<id> last_uses(const std::vector<id>& uses) {
        std::vector<id> order;
        for (auto key = uses.rbegin(); key != uses.rend(); ++key) {
            if (std::find(order.begin(), order.end(), *key) == order.end()) {
                order.insert(order.begin(), *key);
            }
        }
        return order;
    }
    void commit(const std::vector<id>& uses, std::span<counters> count) {
        for (const id key : missed) {
            if (of.shared ? of.part(key).find(key) != nullptr : entries.count(key) != 0) {
                of.part(key).fetched(key);
            }
        }
        for (const id key : last_uses(uses)) {
            of.part(key).use(of.shared ? of.part(key).find(key) : entries[key]);
        }
        if (of.shared) {
            unpin();
            std::set<std::size_t> parts;
            for (const id key : uses) {
                parts.insert(of.shard_of(key));
            }
            for (const std::size_t one : parts) {
                evicted_by_commit += of.shards[one].trim();
            }
        }
        for (const auto& [key, relation] : asked) {
            if (std::find(missed.begin(), missed.end(), key) == missed.end()) {
                ++count[relation].hits;
            } else {
                ++count[relation].misses;
                ++(values[key] ? count[relation].fetched : count[relation].missing);
            }
        }
    }
    void roll_back() {
        for (const entry_ptr& one : added) {
            if (one->living && one->pins == 1) {
                of.part(one->key).erase(one);
            }
        }
        added.clear();
        unpin();
    }
    void unpin() {
        for (const entry_ptr& one : pinned) {
            --one->pins;
        }
        pinned.clear();
    }
    std::size_t release() {
        if (of.shared) {
            return evicted_by_commit;
        }
        return of.shards[0].trim();
    }
};

struct links_pass {
    links& of;
    rows_pass rows;
    std::uint64_t generation = of.sources.generation;
    std::vector<id> asked{};
    std::map<id, std::vector<id>> targets{};
    std::map<id, entry_ptr> entries{};
    std::vector<id> missed{};
    std::vector<entry_ptr> pinned{};
    std::vector<entry_ptr> added{};
    std::size_t fetched = 0;

    links_pass(links& its_links, memo& its_memo) : of(its_links), rows(its_memo) {}
    void ask(id source) {
        if (std::find(asked.begin(), asked.end(), source) == asked.end()) {
            asked.push_back(source);
        }
    }
    void pin(id source, const entry_ptr& one) {
        ++one->pins;
        pinned.push_back(one);
        entries[source] = one;
    }
    void resolve() {
        for (const id source : asked) {
            if (const entry_ptr one = of.sources.find(source)) {
                pin(source, one);
                targets[source] = one->targets;
                for (const id target : one->targets) {
                    rows.ask(target, 0);
                }
            } else {
                missed.push_back(source);
            }
        }
        if (!missed.empty()) {
            const callback_guard guard(of);
            ++of.count.queries;
            for (const auto& [source, target] : of.fetch(missed)) {
                if (std::find(missed.begin(), missed.end(), source) != missed.end()) {
                    targets[source].push_back(target);
                    rows.ask(target, 0);
                    ++fetched;
                }
            }
        }
        rows.resolve();
        if (of.sources.generation == generation) {
            for (const id source : missed) {
                const entry_ptr one = of.sources.add({source, nullptr, targets[source]});
                pin(source, one);
                added.push_back(one);
            }
        }
    }
    void roll_back() {
        rows.roll_back();
        for (const entry_ptr& one : added) {
            if (one->living && one->pins == 1) {
                of.sources.erase(one);
            }
        }
        added.clear();
        unpin();
    }
    void unpin() {
        rows.unpin();
        for (const entry_ptr& one : pinned) {
            --one->pins;
        }
        pinned.clear();
    }
};

inline void rows_pass::resolve() {
    std::vector<id> keys;
    for (const auto& one : asked) {
        keys.push_back(one.first);
    }
    std::stable_sort(keys.begin(), keys.end(), [&](id a, id b) { return of.shard_of(a) < of.shard_of(b); });
    for (const id key : keys) {
        if (const entry_ptr one = of.part(key).find(key)) {
            found(key, one);
        } else if (!of.knows_all) {
            missed.push_back(key);
        }
    }
    if (missed.empty()) {
        return;
    }
    fetch();
    std::map<id, std::size_t> weights;
    for (const id key : missed) {
        weights[key] = of.weight(values[key].get());
    }
    for (const id key : missed) {
        table& part = of.part(key);
        if (of.shared || part.generation == generations[of.shard_of(key)]) {
            const entry_ptr one = part.add({key, values[key], {}, weights[key]});
            found(key, one);
            if (of.shared) {
                pin(one);
            }
            added.push_back(one);
        }
    }
}

} // namespace support::naive_memos
