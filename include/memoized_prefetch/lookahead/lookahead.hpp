/// lookahead: what a run would fetch, worked out from key columns alone, before any related row is read.
///
/// The caller numbers the keys of each table from 0 and tells, for every row of the run, which key each relation holds.
/// For a relation below another one it tells the key of every row that the other one leads to: once, however often that
/// row is used. `run` then goes through the chunks as a MemoizedPrefetch does and counts what tables of given sizes
/// would fetch.
///
///   rows          author   publisher        author  -->  country
///     0              0         2               0            1
///     1              1         2               1            1
///     2              0       no_key            2          no_key
///
/// A row in memory keeps what is attached to it, so a relation below another one asks for a key only if its row was
/// fetched since. Therefore the uses of such a table depend on the size of the table above it.
#pragma once

#include <memoized_prefetch/lookahead/block_array.hpp>
#include <memoized_prefetch/lookahead/simulated_table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace memoized_prefetch {

class lookahead {
public:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    /// One lookup.
    struct relation {
        std::size_t table;        ///< whose rows it attaches
        std::size_t group;        ///< Relations of one group share a query. The groups of a chunk are done in order.
        std::size_t below = none; ///< the relation to whose rows it is attached; none: to the rows of the run
        std::size_t place = none; ///< relations below others: those that attach under one name to one table share it
        std::size_t links =
            none; ///< the table of its links, by the keys of the rows above; only if it is below another
        bool to_many = false;
        bool repeats = false; ///< An earlier relation of the run's own rows attaches the same: only those below go on.
    };
    /// How many statements fetch the rows of a group: one for each `size` keys, but one alone for less than half of
    /// `limit` keys.
    struct batch {
        std::size_t limit = none;
        std::size_t size = none;
        bool ends = false; ///< Whether tables are trimmed after the group. They are after the last one too.
    };
    /// What `run` is asked for, for each table.
    struct wish {
        std::size_t bound = none;        ///< how many entries are kept between chunks
        bool measures = true;            ///< whether the miss-ratio curve is worked out
        std::vector<std::size_t> optima; ///< sizes for which the optimum is worked out
    };
    struct outcome {
        std::vector<simulated_table> tables;
        std::vector<std::uint64_t> queries; ///< by group
        std::uint64_t links = 0;            ///< sources whose links were fetched, for relations of the run's own rows
    };

    /// Adds a table; returns its number.
    std::size_t add_table() {
        m_keys.push_back(0);
        return m_keys.size() - 1;
    }
    /// Says that a table has at least this many keys.
    void has_keys(std::size_t table, std::size_t count) { m_keys[table] = std::max(m_keys[table], count); }

    /// Adds a relation, after the one that it is below; returns its number.
    std::size_t add_relation(const relation& one) {
        m_relations.push_back({one, {}, {}, {}, false});
        return m_relations.size() - 1;
    }
    [[nodiscard]] const relation& of(std::size_t number) const { return m_relations[number].is; }

    /// The next row of the run holds this key.
    void add_row(std::size_t number, key_number key) { m_relations[number].keys.push_back(key); }
    /// The next row of the run is linked to the keys that `add_link` adds.
    void begin_links(std::size_t number) {
        m_relations[number].begins.push_back(checked(m_relations[number].keys.size()));
    }
    void add_link(std::size_t number, key_number key) { m_relations[number].keys.push_back(key); }
    /// Whether it was told what the row `object` of the relation above holds.
    [[nodiscard]] bool knows(std::size_t number, key_number object) const {
        const auto& keys = m_relations[number].keys;
        return object < keys.size() && keys[object] != unknown;
    }
    /// For a relation to one row, below another: the row `object` holds this key.
    void set(std::size_t number, key_number object, key_number key) {
        auto& keys = m_relations[number].keys;
        if (keys.size() <= object) {
            keys.resize(object + std::size_t{1}, unknown);
        }
        keys[object] = key;
    }
    /// The key that `set` was given; `no_key` if none.
    [[nodiscard]] key_number get(std::size_t number, key_number object) const {
        return knows(number, object) ? m_relations[number].keys[object] : no_key;
    }
    /// For a many-to-many below another relation: not every key leads to a row. Only those have links for which
    /// `has_row` is called.
    void lacks_rows(std::size_t number) { m_relations[number].lacks_rows = true; }
    void has_row(std::size_t number, key_number object) {
        auto& exists = m_relations[number].exists;
        if (exists.size() <= object) {
            exists.resize(object + std::size_t{1});
        }
        exists[object] = true;
    }
    /// For a many-to-many below another relation: all its links, pairs of object and key. Those of one object keep
    /// their order.
    void set_links(std::size_t number, std::span<const std::pair<key_number, key_number>> links) {
        data& one = m_relations[number];
        checked(links.size());
        std::vector<std::uint32_t> next(m_keys[m_relations[one.is.below].is.table] + 1);
        for (const auto& [object, key] : links) {
            ++next[object + std::size_t{1}];
        }
        for (std::size_t at = 1; at < next.size(); ++at) {
            next[at] += next[at - 1];
        }
        one.begins = {};
        for (const std::uint32_t begin : next) {
            one.begins.push_back(begin);
        }
        one.keys.resize(links.size(), no_key);
        for (const auto& [object, key] : links) {
            one.keys[next[object]++] = key;
        }
    }

    /// The number of rows of the run that a relation was told of.
    [[nodiscard]] std::size_t rows(std::size_t number) const {
        const data& one = m_relations[number];
        return one.is.to_many ? one.begins.size() : one.keys.size();
    }

    /// The rows in the order of a key of theirs: `ranks` has the place of every key of the relation's table. Rows of
    /// one key keep their order, those without one come first.
    [[nodiscard]] std::vector<std::uint32_t> ordered_by(std::size_t number,
                                                        std::span<const std::uint32_t> ranks) const {
        const auto& keys = m_relations[number].keys;
        const auto place = [&](key_number key) { return key == no_key ? std::size_t{0} : ranks[key] + std::size_t{1}; };
        std::vector<std::size_t> next(m_keys[m_relations[number].is.table] + 2);
        for (std::size_t row = 0; row < keys.size(); ++row) {
            ++next[place(keys[row]) + 1];
        }
        for (std::size_t at = 1; at < next.size(); ++at) {
            next[at] += next[at - 1];
        }
        std::vector<std::uint32_t> order(keys.size());
        for (std::size_t row = 0; row < keys.size(); ++row) {
            order[next[place(keys[row])]++] = static_cast<std::uint32_t>(row);
        }
        return order;
    }

    /// Goes through the first `count` rows in chunks. `wishes`: by table. `batches`: by group. `order`: the numbers of
    /// the rows in the order of the run; empty for that in which they were told.
    [[nodiscard]] outcome run(std::size_t count, std::size_t chunk_size, std::span<const wish> wishes,
                              std::span<const batch> batches, std::span<const std::uint32_t> order) const {
        outcome result;
        std::vector<std::size_t> keys = m_keys;
        for (const data& one : m_relations) {
            if (one.is.links != none) {
                keys[one.is.links] = std::max(keys[one.is.links], keys[m_relations[one.is.below].is.table]);
            }
        }
        std::size_t ends = 1;
        for (const batch& one : batches) {
            ends += one.ends ? 1U : 0U;
        }
        const std::size_t chunks = (count + chunk_size - 1) / chunk_size * ends;
        for (std::size_t table = 0; table < m_keys.size(); ++table) {
            result.tables.emplace_back(keys[table], wishes[table].bound, chunks, wishes[table].measures,
                                       wishes[table].optima);
        }
        result.queries.resize(batches.size());
        walk now{*this, result, batches, order};
        for (std::size_t first = 0; first < count; first += chunk_size) {
            now.chunk(first, std::min(count, first + chunk_size));
        }
        return result;
    }

private:
    static constexpr key_number unknown = no_key - 1; // nothing was told

    struct data {
        relation is;
        detail::block_array<key_number> keys;      // by row of the run, or by row above; those of all links in turn
        detail::block_array<std::uint32_t> begins; // by row: where its links begin
        std::vector<bool> exists;                  // by row above, if `lacks_rows`: whether there is one
        bool lacks_rows = false;

        template <class Visit>
        void visit_links(std::size_t row, Visit&& visit) const {
            if (row >= begins.size()) {
                return; // the row was told of after the links
            }
            const std::size_t end = row + 1 < begins.size() ? begins[row + 1] : keys.size();
            for (std::size_t at = begins[row]; at < end; ++at) {
                visit(keys[at]);
            }
        }
    };

    static std::uint32_t checked(std::size_t links) {
        if (links > no_key) {
            throw std::length_error("more than 2^32 links of one many-to-many");
        }
        return static_cast<std::uint32_t>(links);
    }

    /// What is attached to the row of one key under one name.
    struct attached {
        std::uint32_t to = 0;  // how often the row had been fetched; 0: never attached
        std::uint32_t row = 0; // and the attached row
    };

    /// One pass through all chunks.
    class walk {
    public:
        walk(const lookahead& ahead, outcome& result, std::span<const batch> batches,
             std::span<const std::uint32_t> order)
            : m_ahead(ahead), m_result(result), m_batches(batches), m_order(order), m_reached(ahead.m_relations.size()),
              m_seen(ahead.m_relations.size()), m_missed(batches.size()), m_missed_links(batches.size()) {
            std::size_t places = 0;
            for (const data& one : ahead.m_relations) {
                places = std::max(places, one.is.place == none ? 0 : one.is.place + 1);
            }
            m_attached.resize(places);
            for (std::size_t number = 0; number < ahead.m_relations.size(); ++number) {
                const relation& one = ahead.m_relations[number].is;
                if (one.below == none) {
                    continue;
                }
                const relation& above = ahead.m_relations[one.below].is;
                m_seen[one.below].resize(ahead.m_keys[above.table]);
                m_attached[one.place].resize(ahead.m_keys[above.table]);
            }
        }

        void chunk(std::size_t first, std::size_t last) {
            ++m_chunk;
            for (auto& reached : m_reached) {
                reached.clear();
            }
            for (std::size_t group = 0; group < m_batches.size(); ++group) {
                do_group(group, first, last);
                if (m_batches[group].ends || group + 1 == m_batches.size()) {
                    for (simulated_table& table : m_result.tables) {
                        table.end_chunk();
                    }
                }
            }
        }

    private:
        /// Relations of the same objects are done together, object by object, as by the engine.
        void do_group(std::size_t group, std::size_t first, std::size_t last) {
            m_missed[group] = m_missed_links[group] = 0;
            m_group.clear();
            for (std::size_t number = 0; number < m_ahead.m_relations.size(); ++number) {
                if (m_ahead.m_relations[number].is.group == group) {
                    m_group.push_back(number);
                }
            }
            for (auto one = m_group.begin(); one != m_group.end();) {
                const std::size_t below = m_ahead.m_relations[*one].is.below;
                const auto end = std::find_if(one, m_group.end(), [&](std::size_t number) {
                    return m_ahead.m_relations[number].is.below != below;
                });
                if (below == none) {
                    for (std::size_t row = first; row < last; ++row) {
                        std::for_each(one, end, [&](std::size_t number) { attach_to_row(number, row); });
                    }
                } else {
                    for (const key_number object : m_reached[below]) {
                        std::for_each(one, end, [&](std::size_t number) { attach_below(number, object); });
                    }
                }
                one = end;
            }
            m_result.queries[group] += statements(group, m_missed[group]) + statements(group, m_missed_links[group]);
        }

        [[nodiscard]] std::uint64_t statements(std::size_t group, std::size_t keys) const {
            const batch& of = m_batches[group];
            if (keys == 0 || of.limit == none || 2 * keys < of.limit) {
                return keys == 0 ? 0 : 1;
            }
            return (keys + of.size - 1) / of.size;
        }

        void attach_to_row(std::size_t number, std::size_t row) {
            const data& one = m_ahead.m_relations[number];
            row = m_order.empty() ? row : m_order[row];
            if (one.is.repeats) {
                repeat(number, row);
                return;
            }
            if (!one.is.to_many) {
                use(number, row < one.keys.size() ? one.keys[row] : no_key);
                return;
            }
            ++m_result.links;
            ++m_missed_links[one.is.group];
            one.visit_links(row, [&](key_number key) { use(number, key); });
        }

        void repeat(std::size_t number, std::size_t row) {
            const data& one = m_ahead.m_relations[number];
            if (one.is.to_many) {
                one.visit_links(row, [&](key_number key) { reach(number, key); });
            } else if (row < one.keys.size() && one.keys[row] != no_key) {
                reach(number, one.keys[row]);
            }
        }

        void attach_below(std::size_t number, key_number object) {
            const data& one = m_ahead.m_relations[number];
            if (one.lacks_rows && (object >= one.exists.size() || !one.exists[object])) {
                return;
            }
            attached& here = m_attached[one.is.place][object];
            const std::uint32_t now = table_above(one).fetches(object);
            const bool is_attached = here.to == now;
            here.to = now;
            if (one.is.to_many) {
                if (!is_attached && one.is.links != none && m_result.tables[one.is.links].use(object)) {
                    ++m_missed_links[one.is.group];
                }
                one.visit_links(object, [&](key_number key) { is_attached ? reach(number, key) : use(number, key); });
                return;
            }
            const key_number key = m_ahead.get(number, object);
            if (key == no_key) {
                return;
            }
            simulated_table& table = m_result.tables[one.is.table];
            if (!is_attached) {
                use(number, key);
                here.row = table.fetches(key);
            } else if (here.row == table.fetches(key)) { // otherwise it is an older row, with all below it attached
                reach(number, key);
            }
        }

        [[nodiscard]] const simulated_table& table_above(const data& one) const {
            return m_result.tables[m_ahead.m_relations[one.is.below].is.table];
        }

        void use(std::size_t number, key_number key) {
            if (key != no_key) {
                const relation& one = m_ahead.m_relations[number].is;
                m_missed[one.group] += m_result.tables[one.table].use(key) ? 1 : 0;
                reach(number, key);
            }
        }

        /// Relations below this one go on with the row, once per chunk.
        void reach(std::size_t number, key_number key) {
            if (!m_seen[number].empty() && std::exchange(m_seen[number][key], m_chunk) != m_chunk) {
                m_reached[number].push_back(key);
            }
        }

        const lookahead& m_ahead;
        outcome& m_result;
        std::span<const batch> m_batches;
        std::span<const std::uint32_t> m_order;
        std::vector<std::vector<key_number>> m_reached; // by relation, of this chunk
        std::vector<std::vector<std::uint32_t>> m_seen; // by relation and key: the last chunk that reached it, from 1
        std::vector<std::vector<attached>> m_attached;  // by place and key
        std::vector<std::size_t> m_missed;              // by group, of this chunk
        std::vector<std::size_t> m_missed_links;        // by group, of this chunk
        std::vector<std::size_t> m_group;               // relations of the group that is being done
        std::uint32_t m_chunk = 0;
    };

    std::vector<std::size_t> m_keys; // by table: how many
    std::vector<data> m_relations;
};

} // namespace memoized_prefetch
