/// A chunk: the passes of all relations of a prefetcher, one after another. Rows that are fetched or loaded are chunks of
/// their own if they have relations, so how that is done is here too.
#pragma once

#include "passes.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace support::naive_memos {

/// Relations to one table: any to-one relations to a memo, or a single to-many relation.
struct relations {
    memo* rows;
    links* through = nullptr;
    std::vector<std::size_t> numbers; // among the prefetcher's
};

struct prefetcher {
    std::vector<relations> tables;
    std::vector<counters> counts;
    std::function<void(const row&, std::size_t relation)> read{};
    std::function<void(const row&, std::size_t relation)> attach{};
};

/// A chunk, from its keys to the end of its pins.
class chunk {
public:
    chunk(prefetcher& what, std::vector<row_ptr> objects) : m_what(what), m_objects(std::move(objects)) {
        try {
            run();
        } catch (...) {
            for (auto one = m_steps.rbegin(); one != m_steps.rend(); ++one) {
                (*one)->many ? (*one)->many->roll_back() : (*one)->one->roll_back();
            }
            end();
            throw;
        }
    }
    chunk(const chunk&) = delete;
    chunk& operator=(const chunk&) = delete;
    ~chunk() { end(); }

private:
    struct step {
        const relations& what;
        std::unique_ptr<rows_pass> one{};
        std::unique_ptr<links_pass> many{};
        std::vector<id> uses{};
        std::vector<id> source_uses{};
    };

    void run() {
        for (const relations& one : m_what.tables) {
            if (one.through != nullptr) {
                one.through->check();
            }
            one.rows->check();
            m_steps.push_back(std::make_unique<step>(step{one}));
            if (one.through != nullptr) {
                m_steps.back()->many = std::make_unique<links_pass>(*one.through, *one.rows);
            } else {
                m_steps.back()->one = std::make_unique<rows_pass>(*one.rows);
            }
        }
        for (const auto& one : m_steps) {
            resolve(*one);
        }
        for (const auto& one : m_steps) {
            attach(*one);
        }
        for (const auto& one : m_steps) {
            commit(*one);
        }
    }
    void resolve(step& one) {
        for (std::size_t group = 0; group < one.what.numbers.size(); ++group) {
            const std::size_t relation = one.what.numbers[group];
            for (const row_ptr& object : m_objects) {
                m_what.read(*object, relation);
                if (const std::optional<id> key = object->keys[relation]) {
                    one.many ? one.many->ask(*key) : one.one->ask(*key, group);
                    (one.many ? one.source_uses : one.uses).push_back(*key);
                }
            }
        }
        one.many ? one.many->resolve() : one.one->resolve();
        for (const id source : one.source_uses) {
            const std::vector<id>& targets = one.many->targets[source];
            one.uses.insert(one.uses.end(), targets.begin(), targets.end());
        }
    }
    void attach(step& one) {
        rows_pass& rows = one.many ? one.many->rows : *one.one;
        for (const std::size_t relation : one.what.numbers) {
            for (const row_ptr& object : m_objects) {
                const std::optional<id> key = object->keys[relation];
                std::vector<row_ptr> found;
                if (!one.many) {
                    found.push_back(key ? rows.values[*key] : nullptr);
                } else if (key) {
                    for (const id target : one.many->targets[*key]) {
                        if (rows.values[target]) {
                            found.push_back(rows.values[target]);
                        }
                    }
                }
                m_what.attach(*object, relation);
                object->attached[relation] = std::move(found);
            }
        }
    }
    void commit(step& one) {
        std::vector<counters> count(one.what.numbers.size());
        if (one.many) {
            links_pass& many = *one.many;
            for (const id source : many.missed) {
                if (many.entries.count(source) != 0) {
                    many.of.sources.fetched(source);
                }
            }
            for (const id source : rows_pass::last_uses(one.source_uses)) {
                many.of.sources.use(many.entries[source]);
            }
            counters& sources = many.of.count;
            sources.requests += one.source_uses.size();
            sources.hits += many.asked.size() - many.missed.size();
            sources.misses += many.missed.size();
            sources.fetched += many.fetched;
            count[0].requests += one.uses.size();
            many.rows.commit(one.uses, count);
        } else {
            for (std::size_t group = 0; group < count.size(); ++group) {
                for (const row_ptr& object : m_objects) {
                    count[group].requests += object->keys[one.what.numbers[group]] ? 1U : 0U;
                }
            }
            one.one->commit(one.uses, count);
        }
        for (std::size_t group = 0; group < count.size(); ++group) {
            m_what.counts[one.what.numbers[group]] += count[group];
            one.what.rows->count += count[group];
        }
    }
    void end() {
        for (const auto& one : m_steps) {
            one->many ? one->many->unpin() : one->one->unpin();
        }
        for (const auto& one : m_steps) {
            one->what.rows->count.evicted += (one->many ? one->many->rows : *one->one).release();
            if (one->many) {
                one->many->of.count.evicted += one->many->of.sources.trim();
            }
        }
    }

    prefetcher& m_what;
    std::vector<row_ptr> m_objects;
    std::vector<std::unique_ptr<step>> m_steps{};
};

inline void rows_pass::fetch() {
    const callback_guard guard(of);
    ++of.count.queries;
    std::vector<row_ptr> fresh;
    for (const row_ptr& one : of.fetch(missed)) {
        of.read_key(*one);
        const bool wanted = std::find(missed.begin(), missed.end(), one->key) != missed.end();
        if (wanted && !values[one->key]) { // of two rows with one key, the first
            values[one->key] = one;
            fresh.push_back(one);
        }
    }
    if (of.nested != nullptr) {
        const chunk prepared(*of.nested, fresh);
    }
}

inline bool memo::put_all(const std::vector<row_ptr>& rows) {
    check();
    const callback_guard guard(*this);
    std::vector<row_ptr> first;
    std::set<id> seen;
    for (const row_ptr& one : rows) {
        read_key(*one);
        if (seen.insert(one->key).second) {
            first.push_back(one);
        }
    }
    if (nested != nullptr && !first.empty()) {
        const chunk prepared(*nested, first);
    }
    std::vector<std::size_t> weights;
    for (const row_ptr& one : first) {
        weights.push_back(weight(one.get()));
    }
    for (table& one : shards) {
        one.forget_all();
    }
    std::set<std::size_t> full;
    for (std::size_t at = 0; at < first.size(); ++at) {
        table& one = part(first[at]->key);
        const bool fits = one.newest_first.size() < one.bound && one.weight() + weights[at] <= one.weight_bound;
        if (!fits) {
            full.insert(shard_of(first[at]->key));
        }
        if (full.count(shard_of(first[at]->key)) == 0) {
            one.add({first[at]->key, first[at], {}, weights[at]});
            one.had.insert(first[at]->key);
        }
    }
    for (table& one : shards) {
        one.trim();
    }
    knows_all = full.empty();
    return knows_all;
}

} // namespace support::naive_memos
