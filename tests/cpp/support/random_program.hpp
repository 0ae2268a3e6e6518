/// The body of all random tests of the library's own API. It reads bytes as a program over memos, links and
/// prefetchers, nested ones too, whose callbacks may fail or do other things, and runs it on the library and on the
/// naive memos. After every step both must look the same: contents, order, pins and counters of every table, what
/// callbacks were asked, what objects were given, and how many rows are alive. Throws `difference` if they do not.
#pragma once

#include "naive_memos.hpp"
#include "random_program/library.hpp"
#include "random_program/oracle.hpp"
#include "random_program/program.hpp"
#include "random_program/reader.hpp"
#include "random_program/rows.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace support {

namespace mp = memoized_prefetch;

/// `Memo`: mp::memo or mp::shared_memo.
template <template <class, class, class> class Memo>
class random_program {
    using id = program::id;
    using action = program::action;
    using operation = program::operation;
    using library = program::library<Memo>;
    using oracle = program::oracle<Memo>;

public:
    struct difference : std::logic_error {
        using std::logic_error::logic_error;
    };

    /// Counts of what happened, so that a test can check that it was not vacuous.
    struct tally {
        std::size_t operations = 0;
        std::size_t failed = 0;
        std::size_t misused = 0;
        std::size_t evicted = 0;
        std::size_t nested = 0;
        std::size_t compared_under_pins = 0;
    };

    static tally run(std::span<const std::uint8_t> bytes) {
        program::reader script(bytes);
        tally result;
        {
            random_program world(script);
            while (!script.empty()) {
                world.step(script);
            }
            while (!world.m_real->open.empty()) {
                world.both({.what = action::end_pin});
            }
            world.check_bounds();
            result = world.m_tally;
        }
        if (program::alive::count != 0 || naive_memos::row::alive != 0) {
            throw difference("rows are left");
        }
        return result;
    }

private:
    explicit random_program(program::reader& script) {
        program::size sizes[program::memos];
        for (program::size& one : sizes) {
            one = script.next_bound();
        }
        std::size_t link_sizes[2];
        for (std::size_t& one : link_sizes) {
            one = script.next_size(7);
            one = one == 6 ? mp::unbounded : one;
        }
        for (id key = 0; key < 9; ++key) {
            m_data.versions[program::authors][key] = 1;
            m_data.versions[program::books][key] = key;
        }
        for (id key = 0; key < 6; ++key) {
            m_data.versions[program::categories][key] = 1;
            m_data.links[0][key] = {key, (key * 3) % program::category_keys, key};
            m_data.links[1][key + 2] = {(key * 5) % program::author_keys, key};
        }
        m_real = std::make_unique<library>(m_real_stage, sizes, link_sizes);
        m_naive = std::make_unique<oracle>(m_naive_stage, *m_real, sizes, link_sizes);
        m_real_stage.run = [this](const operation& one) { m_real->run(one); };
        m_naive_stage.run = [this](const operation& one) { m_naive->run(one); };
    }

    void step(program::reader& script) {
        switch (script.next(8)) {
        case 0: {
            auto& versions = m_data.versions[script.next_size(program::memos)];
            const id key = script.next(program::author_keys);
            if (script.next(3) == 0) {
                versions.erase(key);
            } else {
                ++versions[key];
            }
            return;
        }
        case 1: {
            const std::size_t which = script.next_size(2);
            std::vector<id>& targets = m_data.links[which][script.next(program::book_keys)];
            targets.resize(script.next_size(4));
            for (id& target : targets) {
                target = script.next(which == 0 ? program::category_keys : program::author_keys);
            }
            m_data.sends_unasked = script.next(4) == 0;
            m_data.sends_twice = script.next(4) == 0;
            return;
        }
        default:
            return both(script.next_operation(0));
        }
    }

    void both(const operation& one) {
        if (m_real->open.size() >= 3 && (one.what == action::pin || one.what == action::resolve)) {
            return;
        }
        ++m_tally.operations;
        m_tally.nested += one.during ? 1U : 0U;
        m_real_stage.log.clear();
        m_naive_stage.log.clear();
        enum { done, broken, misused };
        int real = done;
        try {
            m_real_stage.perform(one);
        } catch (const program::broken_call&) {
            real = broken;
        } catch (const std::logic_error&) {
            real = misused;
        }
        int naive = done;
        try {
            m_naive_stage.perform(one);
        } catch (const naive_memos::broken_call&) {
            naive = broken;
        } catch (const naive_memos::misuse&) {
            naive = misused;
        }
        m_tally.failed += real == broken ? 1U : 0U;
        m_tally.misused += real == misused ? 1U : 0U;
        same("how it ended", {real}, {naive});
        same("what was asked and given", m_real_stage.log, m_naive_stage.log);
        compare();
    }

    static void same(const char* what, const std::vector<id>& library, const std::vector<id>& naive) {
        if (library != naive) {
            std::ostringstream text;
            text << what << "\n  library:";
            for (const id one : library) {
                text << ' ' << one;
            }
            text << "\n  naive:  ";
            for (const id one : naive) {
                text << ' ' << one;
            }
            throw difference(text.str());
        }
    }
    static void show_counters(std::vector<id>& out, const mp::counters& count) {
        for (const std::uint64_t one :
             {count.requests, count.hits, count.misses, count.fetched, count.missing, count.evicted, count.queries}) {
            out.push_back(static_cast<id>(one));
        }
    }
    static void show_stats(std::vector<id>& out, const mp::memo_stats& stats) {
        show_counters(out, stats);
        out.push_back(static_cast<id>(stats.size));
        out.push_back(static_cast<id>(stats.largest));
        out.push_back(static_cast<id>(stats.fetched_again));
    }
    static void show_stats(std::vector<id>& out, const mp::counters& count,
                           std::span<const naive_memos::table> tables) {
        show_counters(out, count);
        std::size_t size = 0;
        std::size_t largest = 0;
        std::uint64_t again = 0;
        for (const naive_memos::table& one : tables) {
            size += one.newest_first.size();
            largest += one.largest;
            again += one.fetched_again;
        }
        out.push_back(static_cast<id>(size));
        out.push_back(static_cast<id>(largest));
        out.push_back(static_cast<id>(again));
    }
    /// Keys, values and pins in the order of use.
    template <class Table>
    static void show_entries(std::vector<id>& out, const Table& table) {
        if (!table.consistent()) {
            throw difference("a table is not consistent");
        }
        for (auto slot = table.newest(); slot != mp::no_slot; slot = table.older(slot)) {
            out.push_back(table.key(slot));
            out.push_back(static_cast<id>(table.pins(slot)));
            if constexpr (requires { table.handle(slot); }) {
                program::show(out, table.handle(slot).get());
                if (table.is_absent(slot) != (table.handle(slot) == nullptr)) {
                    throw difference("an entry is neither a row nor an absence");
                }
            } else {
                out.insert(out.end(), table.targets(slot).begin(), table.targets(slot).end());
            }
        }
        out.push_back(-100);
    }
    static void show_entries(std::vector<id>& out, const naive_memos::table& table, bool of_links) {
        for (const naive_memos::entry_ptr& one : table.newest_first) {
            out.push_back(one->key);
            out.push_back(one->pins);
            if (of_links) {
                out.insert(out.end(), one->targets.begin(), one->targets.end());
            } else {
                oracle::show(out, one->value);
            }
        }
        out.push_back(-100);
    }

    void compare() {
        static constexpr const char* names[] = {"authors", "categories", "books", "book_categories", "book_authors"};
        for (std::size_t at = 0; at < program::all_tables; ++at) {
            std::vector<id> real;
            std::vector<id> naive;
            m_real->with_table(at, [&](auto& memo) {
                show_stats(real, memo.stats());
                auto& table = mp::detail::memo_access::table(memo);
                if constexpr (requires { table.shards(); }) {
                    for (std::size_t shard = 0; shard < table.shards(); ++shard) {
                        show_entries(real, table[shard].table);
                        if (!table[shard].flying.empty()) {
                            throw difference("a key is in flight for ever");
                        }
                    }
                } else {
                    show_entries(real, table);
                }
            });
            if (at < program::memos) {
                const naive_memos::memo& memo = m_naive->memos[at];
                show_stats(naive, memo.count, memo.shards);
                for (const naive_memos::table& shard : memo.shards) {
                    show_entries(naive, shard, false);
                }
            } else {
                const naive_memos::links& links = m_naive->between[at - program::category_links];
                show_stats(naive, links.count, {&links.sources, 1});
                show_entries(naive, links.sources, true);
            }
            same(names[at], real, naive);
        }
        std::vector<id> real;
        std::vector<id> naive;
        for (const auto& counts : {m_real->prefetch_books.stats(), m_real->prefetch_reviews.stats(),
                                   m_real->prefetch_raw.stats(), m_real->prefetch_people.stats()}) {
            for (const mp::counters& one : counts) {
                show_counters(real, one);
            }
        }
        for (const naive_memos::prefetcher& one : m_naive->prefetchers) {
            std::set<std::size_t> relations;
            for (const naive_memos::relations& table : one.tables) {
                relations.insert(table.numbers.begin(), table.numbers.end());
            }
            for (const std::size_t relation : relations) {
                show_counters(naive, one.counts[relation]);
            }
        }
        same("counters of relations", real, naive);
        real.clear();
        naive.clear();
        for (const auto& one : m_real->open) {
            one->show_rows(real);
        }
        for (const auto& one : m_naive->open) {
            one->show_rows(naive);
        }
        same("rows that are pinned", real, naive);
        m_tally.compared_under_pins += m_real->open.empty() ? 0U : 1U;
        same("rows and objects alive", {static_cast<id>(program::alive::count)},
             {static_cast<id>(naive_memos::row::alive)});
    }
    void check_bounds() {
        for (naive_memos::memo& memo : m_naive->memos) {
            for (const naive_memos::table& one : memo.shards) {
                if (one.newest_first.size() > one.bound || one.weight() > one.weight_bound) {
                    throw difference("more is kept than may be");
                }
                m_tally.evicted += memo.count.evicted;
            }
        }
    }

    program::database m_data;
    program::stage m_real_stage{m_data};
    program::stage m_naive_stage{m_data};
    std::unique_ptr<library> m_real;
    std::unique_ptr<oracle> m_naive;
    tally m_tally;
};

/// The first byte selects the kind of memo.
inline void run_program(std::span<const std::uint8_t> bytes) {
    if (!bytes.empty() && bytes.front() % 2 == 1) {
        random_program<mp::shared_memo>::run(bytes.subspan(1));
    } else {
        random_program<mp::memo>::run(bytes.subspan(bytes.empty() ? 0 : 1));
    }
}

} // namespace support
