/// The library's own API again, as simple as possible: lists that are searched from end to end. The oracle of the
/// random programs. Tables and relations have numbers here, and rows of all tables have one type.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
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

/// Common to memos and links: the callback for what is not remembered, and whether it is running.
struct called {
    bool in_callback = false;
    counters count{};

    void check() const {
        if (in_callback) {
            throw misuse{};
        }
    }
};
class callback_guard {
public:
    explicit callback_guard(called& what) : m_what(what), m_before(what.in_callback) { what.in_callback = true; }
    callback_guard(const callback_guard&) = delete;
    callback_guard& operator=(const callback_guard&) = delete;
    ~callback_guard() { m_what.in_callback = m_before; }

private:
    called& m_what;
    bool m_before;
};

struct links : called {
    table sources{};
    std::function<std::vector<std::pair<id, id>>(std::span<const id>)> fetch{};
};

struct prefetcher;
struct memo : called {
    bool shared = false; // gives out rows without pins; only entries that a chunk adds are pinned, until it commits
    std::vector<table> shards = std::vector<table>(1);
    std::function<std::size_t(id)> shard_of{};
    std::function<std::vector<row_ptr>(std::span<const id>)> fetch{};
    std::function<void(const row&)> read_key{};
    std::function<std::size_t(const row*)> weight{}; // null: an absence
    prefetcher* nested = nullptr;
    bool knows_all = false;

    table& part(id key) { return shards[shard_of(key)]; }

    void invalidate(id key) {
        check();
        part(key).forget(key);
        knows_all = false;
    }
    void clear() {
        check();
        for (table& one : shards) {
            one.forget_all();
        }
        knows_all = false;
    }
    bool put_all(const std::vector<row_ptr>& rows);
};

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

/// The rows of some keys, pinned.
class resolved {
public:
    resolved(memo& of, const std::vector<std::optional<id>>& keys) : m_keys(keys), m_rows((of.check(), of)) {
        try {
            std::vector<id> uses;
            for (const std::optional<id>& key : keys) {
                if (key) {
                    m_rows.ask(*key, 0);
                    uses.push_back(*key);
                }
            }
            m_rows.resolve();
            counters count;
            count.requests = uses.size();
            m_rows.commit(uses, {&count, 1});
            of.count += count;
        } catch (...) {
            m_rows.roll_back();
            m_rows.release(); // entries that were held by pins which ended meanwhile are evicted, but not counted
            throw;
        }
    }
    resolved(const resolved&) = delete;
    resolved& operator=(const resolved&) = delete;
    ~resolved() { end(); }

    std::vector<row_ptr> rows() const {
        std::vector<row_ptr> result;
        for (const std::optional<id>& key : m_keys) {
            const auto found = key ? m_rows.values.find(*key) : m_rows.values.end();
            result.push_back(found == m_rows.values.end() ? nullptr : found->second);
        }
        return result;
    }

private:
    void end() {
        m_rows.unpin();
        m_rows.of.count.evicted += m_rows.release();
    }
    std::vector<std::optional<id>> m_keys;
    rows_pass m_rows;
};

} // namespace support::naive_memos
