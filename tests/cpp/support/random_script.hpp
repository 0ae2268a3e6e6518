/// The body of all random tests of the tables. It reads bytes as a script of chunks (whole, overlapping, nested,
/// failing), erasures, clearings, bounds and changes in the database, and runs it on the tables and on the naive ones.
/// After every step both must look the same. Throws `difference` if they do not.
#pragma once

#include "naive_tables.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace support {

struct difference : std::logic_error {
    using std::logic_error::logic_error;
};

class random_script {
    using id = naive::id;
    struct row {
        id key;
        int version;
        mutable bool stale = false;
    };
    using handle = std::shared_ptr<const row>;
    using memo_table = memoized_prefetch::memo_table<id, handle>;
    using link_table = memoized_prefetch::link_table<id, id>;
    using one_pass = memoized_prefetch::to_one_pass<memo_table>;
    using many_pass = memoized_prefetch::to_many_pass<link_table, memo_table>;
    struct query_failed {};

public:
    /// Counts of what happened, so that a test can check that it was not vacuous.
    struct tally {
        std::size_t chunks = 0;
        std::size_t overlapping = 0;
        std::size_t nested = 0;
        std::size_t failed = 0;
        std::size_t abandoned = 0;
    };

    static tally run(std::span<const std::uint8_t> script) {
        random_script world(script);
        while (!world.m_script.empty()) {
            world.step(true);
            world.compare();
        }
        while (!world.m_open.empty()) {
            world.end(0, true);
            world.compare();
        }
        world.m_memo.trim();
        world.m_memo.reclaim();
        world.m_naive_memo.trim();
        world.m_links.trim();
        world.m_links.reclaim();
        world.m_naive_links.trim();
        world.compare();
        check(world.m_memo.size() <= world.m_memo.bound(), "the bound of the memo");
        std::size_t targets = 0;
        for (const auto& one : world.m_naive_links.newest_first) {
            check(one->pins == 0, "a pin is left");
            targets += one->targets.size();
        }
        check(world.m_links.stored() == targets, "targets are stored that no source has");
        return world.m_tally;
    }

private:
    struct objects {
        std::vector<std::optional<id>> keys;
        std::vector<std::vector<handle>> attached{};

        [[nodiscard]] std::size_t size() const { return keys.size(); }
        [[nodiscard]] static std::size_t width() { return 1; }
        void read(std::size_t i, std::span<memoized_prefetch::key_reading<id>> out) const {
            using state = memoized_prefetch::key_state;
            out[0] = {keys[i] ? state::present : state::null, keys[i].value_or(0)};
        }
        void attach(std::size_t i, std::span<const handle* const> rows) {
            attached.resize(keys.size());
            attached[i].clear();
            for (const handle* one : rows) {
                attached[i].push_back(*one);
            }
        }
    };
    /// A chunk that was resolved but has not ended, on both sides.
    struct open_chunk {
        objects what;
        naive::links_pass oracle; // its links stay empty for a chunk of rows only
        std::unique_ptr<one_pass> one{};
        std::unique_ptr<many_pass> many{};
    };
    /// Reads rows and links for the tables; `during` runs within each query.
    struct source {
        const naive::database& data;
        std::function<void()> during;

        template <class Take>
        void fetch(const std::vector<id>& asked, Take&& take) {
            during();
            for (const id key : asked) {
                if (const auto found = data.rows.find(key); found != data.rows.end()) {
                    take(std::make_shared<const row>(row{key, found->second}));
                }
            }
        }
        static id key_of(const handle& one) { return one->key; }
        static bool valid(const handle& one, id key) { return !one->stale && one->key == key; }
    };
    struct link_source {
        const naive::database& data;
        std::function<void()> during;

        template <class Take>
        void fetch(const std::vector<id>& asked, Take&& take) {
            during();
            for (const auto& [from, targets] : data.links) {
                if (std::find(asked.begin(), asked.end(), from) != asked.end()) {
                    for (const id to : targets) {
                        take(from, to);
                    }
                }
            }
        }
    };

    explicit random_script(std::span<const std::uint8_t> script) : m_script(script.begin(), script.end()) {
        for (id key = 0; key < 20; ++key) {
            m_data.rows[key] = 1;
            m_data.links[key] = {key, (key * 7) % 24, key};
        }
    }

    static void check(bool holds, const char* what) {
        if (!holds) {
            throw difference(what);
        }
    }

    id next(id below) {
        if (m_script.empty()) {
            return 0;
        }
        const id value = m_script.front() % below;
        m_script.pop_front();
        return value;
    }
    std::vector<std::optional<id>> next_keys() {
        std::vector<std::optional<id>> keys(static_cast<std::size_t>(next(12)));
        for (auto& key : keys) {
            const id value = next(25);
            key = value == 24 ? std::nullopt : std::optional<id>(value);
        }
        return keys;
    }

    void step(bool may_open) {
        switch (next(may_open ? 14 : 10)) {
        case 0:
        case 1:
        case 2:
            return run_chunk(false);
        case 3:
        case 4:
            return run_chunk(true);
        case 5: {
            const id key = next(24);
            if (const auto slot = m_memo.find(key); slot != memoized_prefetch::no_slot) {
                m_memo.erase(slot);
                m_memo.reclaim();
                m_naive_memo.erase(m_naive_memo.find(key));
            }
            if (const auto slot = m_links.find(key); slot != memoized_prefetch::no_slot) {
                m_links.erase(slot);
                m_links.reclaim();
                m_naive_links.erase(m_naive_links.find(key));
            }
            return;
        }
        case 6:
            switch (next(4)) {
            case 0:
                m_memo.clear();
                return m_naive_memo.clear();
            case 1:
                m_links.clear();
                return m_naive_links.clear();
            case 2:
                m_memo.next_generation();
                ++m_naive_memo.generation;
                return;
            default:
                m_links.next_generation();
                ++m_naive_links.generation;
                return;
            }
        case 7: {
            const auto bound = static_cast<std::size_t>(next(16));
            (bound % 2 == 0 ? m_memo.set_bound(bound) : m_links.set_bound(bound));
            (bound % 2 == 0 ? m_naive_memo : m_naive_links).bound = bound;
            return;
        }
        case 8: {
            const id key = next(24);
            if (next(3) == 0) {
                m_data.rows.erase(key);
            } else {
                ++m_data.rows[key];
            }
            std::vector<id> targets(static_cast<std::size_t>(next(5)));
            for (id& target : targets) {
                target = next(24);
            }
            m_data.links[key] = targets;
            return;
        }
        case 9: { // the user deletes a shared row
            const id key = next(24);
            const auto slot = m_memo.find(key);
            if (slot != memoized_prefetch::no_slot && !m_memo.is_absent(slot)) {
                m_memo.handle(slot)->stale = true;
                m_naive_memo.find(key)->value->stale = true;
            }
            return;
        }
        case 10:
            return open(false, next_keys(), [] {});
        case 11:
            return open(true, next_keys(), [] {});
        default:
            if (!m_open.empty()) {
                const auto which = static_cast<std::size_t>(next(static_cast<id>(m_open.size())));
                end(which, next(3) != 0);
            }
        }
    }

    /// A chunk from beginning to end. Its queries may fail, and other things may happen during them.
    void run_chunk(bool many) {
        const id mishap = next(8);
        auto keys = next_keys();
        if (mishap == 0) {
            ++m_tally.failed;
            try {
                open(many, std::move(keys), [] { throw query_failed{}; });
            } catch (const query_failed&) {
                return;
            }
        } else if (mishap == 1 && m_depth < 3) {
            ++m_tally.nested;
            open(many, std::move(keys), [&] {
                ++m_depth;
                step(false);
                --m_depth;
            });
        } else {
            open(many, std::move(keys), [] {});
        }
        end(m_open.size() - 1, true);
    }

    /// Runs both sides up to the end of `resolve`, the naive side in step with the other's queries.
    void open(bool many, std::vector<std::optional<id>> keys, const std::function<void()>& during) {
        ++m_tally.chunks;
        open_chunk chunk{{std::move(keys)}, {{m_naive_links}, {{m_naive_memo}}}};
        naive::links_pass& oracle = chunk.oracle;
        for (const auto& key : chunk.what.keys) {
            if (key) {
                many ? oracle.ask(*key) : oracle.rows.ask(*key);
            }
        }
        source rows{m_data, during};
        link_source links{m_data, [&] {
                              during();
                              oracle.read_links(m_data);
                              oracle.rows.look_up();
                          }};
        try {
            oracle.look_up();
            if (oracle.missed.empty()) {
                oracle.rows.look_up();
            }
            if (many) {
                chunk.many = std::make_unique<many_pass>(m_links, m_memo);
                chunk.many->collect(chunk.what);
                chunk.many->resolve(links, rows);
            } else {
                chunk.one = std::make_unique<one_pass>(m_memo);
                chunk.one->collect(chunk.what);
                chunk.one->resolve(rows);
            }
            oracle.rows.admit(m_data);
            oracle.admit();
        } catch (...) {
            end_oracle(chunk, many, false);
            throw;
        }
        m_open.push_back(std::move(chunk));
        m_tally.overlapping += m_open.size() > 1 ? 1U : 0U;
    }

    void end(std::size_t which, bool committed) {
        std::list<open_chunk> taken; // first out of the list, because it may end within another chunk
        taken.splice(taken.end(), m_open, std::next(m_open.begin(), static_cast<std::ptrdiff_t>(which)));
        open_chunk& chunk = taken.front();
        naive::links_pass& oracle = chunk.oracle;
        if (committed) {
            commit(chunk);
            for (const auto& key : chunk.what.keys) {
                if (key) {
                    chunk.many ? oracle.use(*key) : oracle.rows.use(*key);
                }
            }
        }
        m_tally.abandoned += committed ? 0U : 1U;
        const bool many = chunk.many != nullptr;
        chunk.one.reset();
        chunk.many.reset();
        end_oracle(chunk, many, committed);
    }
    static void end_oracle(open_chunk& chunk, bool many, bool committed) {
        chunk.oracle.rows.memo.end(committed);
        if (many) {
            chunk.oracle.links.end(committed);
        }
    }

    void commit(open_chunk& chunk) {
        naive::links_pass& oracle = chunk.oracle;
        memoized_prefetch::counters rows;
        memoized_prefetch::counters links;
        std::size_t requests = 0;
        chunk.what.attached.resize(chunk.what.size());
        if (chunk.many) {
            chunk.many->attach(chunk.what);
            chunk.many->commit(rows, links);
            check(links.misses == oracle.missed.size() && links.hits + links.misses == oracle.asked.size(),
                  "counters of links");
        } else {
            chunk.one->attach(0, chunk.what);
            chunk.one->commit({&rows, 1});
        }
        for (std::size_t i = 0; i < chunk.what.size(); ++i) {
            const auto& key = chunk.what.keys[i];
            std::vector<id> wanted;
            if (key) {
                wanted = chunk.many ? oracle.targets[*key] : std::vector<id>{*key};
            }
            requests += wanted.size();
            auto given = chunk.what.attached[i].begin();
            for (const id target : wanted) {
                if (const auto& value = oracle.rows.values[target]) {
                    check(given != chunk.what.attached[i].end() && *given && (*given)->key == target &&
                              (*given)->version == value->version,
                          "a row that was attached");
                    ++given;
                }
            }
            if (given != chunk.what.attached[i].end() && !*given) {
                check(!chunk.many, "a null handle among many");
                ++given; // "there is none"
            }
            check(given == chunk.what.attached[i].end(), "more was attached than there is");
        }
        check(rows.requests == requests, "requests");
        check(rows.hits + rows.misses == oracle.rows.asked.size(), "distinct keys");
        check(rows.misses == oracle.rows.missed.size(), "misses");
        check(rows.fetched == oracle.rows.fetched && rows.fetched + rows.missing == rows.misses, "fetched rows");
    }

    template <class Table, class Same>
    static void compare(const Table& table, const naive::table& oracle, Same&& same) {
        check(table.consistent(), "consistency");
        check(table.size() == oracle.newest_first.size(), "size");
        auto slot = table.newest();
        for (const naive::entry_ptr& one : oracle.newest_first) {
            check(table.key(slot) == one->key, "order");
            check(table.pins(slot) == static_cast<std::uint32_t>(one->pins), "pins");
            check(same(slot, *one), "value");
            slot = table.older(slot);
        }
    }
    void compare() const {
        compare(m_memo, m_naive_memo, [&](memoized_prefetch::slot_id slot, const naive::entry& one) {
            return one.value ? m_memo.handle(slot) && m_memo.handle(slot)->version == one.value->version
                             : m_memo.is_absent(slot);
        });
        compare(m_links, m_naive_links, [&](memoized_prefetch::slot_id slot, const naive::entry& one) {
            const auto targets = m_links.targets(slot);
            return std::equal(targets.begin(), targets.end(), one.targets.begin(), one.targets.end());
        });
    }

    std::deque<std::uint8_t> m_script;
    naive::database m_data;
    naive::table m_naive_memo{8};
    naive::table m_naive_links{8};
    memo_table m_memo{8};
    link_table m_links{8};
    std::list<open_chunk> m_open;
    int m_depth = 0;
    tally m_tally;
};

} // namespace support
