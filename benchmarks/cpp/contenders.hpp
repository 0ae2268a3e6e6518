/// Caches of rows by key, as a program would write them. Each finds a row (a use), adds one that was fetched, and is
/// trimmed to its size when a chunk ends. `chunk_loop` is the loop around them, the same for all.
#pragma once

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <absl/container/flat_hash_map.h>
#include <boost/multi_index/hashed_index.hpp>
#include <boost/multi_index/member.hpp>
#include <boost/multi_index/sequenced_index.hpp>
#include <boost/multi_index_container.hpp>

#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace contenders {

template <class Key>
struct row {
    Key id;
    std::int64_t number;
};
template <class Key>
using handle = std::shared_ptr<const row<Key>>;

/// The usual least-recently-used cache of Boost's documentation.
template <class Key>
class multi_index_lru {
    struct entry {
        Key key;
        handle<Key> kept;
    };
    using container = boost::multi_index_container<
        entry, boost::multi_index::indexed_by<
                   boost::multi_index::sequenced<>,
                   boost::multi_index::hashed_unique<boost::multi_index::member<entry, Key, &entry::key>>>>;

public:
    static constexpr const char* name = "boost::multi_index";
    explicit multi_index_lru(std::size_t entries) : m_entries(entries) {}
    const row<Key>* find(const Key& key) {
        const auto& by_key = m_rows.template get<1>();
        const auto found = by_key.find(key);
        if (found == by_key.end()) {
            return nullptr;
        }
        m_rows.relocate(m_rows.begin(), m_rows.template project<0>(found));
        return found->kept.get();
    }
    void add(const handle<Key>& kept) { m_rows.push_front({kept->id, kept}); }
    void trim() {
        while (m_rows.size() > m_entries) {
            m_rows.pop_back();
        }
    }

private:
    container m_rows;
    std::size_t m_entries;
};

/// A list in the order of use and a hash map into it.
template <class Key, template <class...> class Map, const char* Name>
class list_and_map {
    struct entry {
        Key key;
        handle<Key> kept;
    };

public:
    static constexpr const char* name = Name;
    explicit list_and_map(std::size_t entries) : m_entries(entries) {}
    const row<Key>* find(const Key& key) {
        const auto found = m_by_key.find(key);
        if (found == m_by_key.end()) {
            return nullptr;
        }
        m_newest_first.splice(m_newest_first.begin(), m_newest_first, found->second);
        return found->second->kept.get();
    }
    void add(const handle<Key>& kept) {
        m_newest_first.push_front({kept->id, kept});
        m_by_key.emplace(kept->id, m_newest_first.begin());
    }
    void trim() {
        while (m_newest_first.size() > m_entries) {
            m_by_key.erase(m_newest_first.back().key);
            m_newest_first.pop_back();
        }
    }

private:
    std::list<entry> m_newest_first;
    Map<Key, typename std::list<entry>::iterator> m_by_key;
    std::size_t m_entries;
};
template <class Key, class Value>
using std_map = std::unordered_map<Key, Value>;
template <class Key, class Value>
using flat_map = absl::flat_hash_map<Key, Value>;
inline constexpr char list_and_std_name[] = "list + std::unordered_map";
inline constexpr char list_and_flat_name[] = "list + absl::flat_hash_map";

/// No bound and no order of use: fetched rows stay.
template <class Key>
class bare_map {
public:
    static constexpr const char* name = "bare absl::flat_hash_map";
    explicit bare_map(std::size_t) {}
    const row<Key>* find(const Key& key) {
        const auto found = m_rows.find(key);
        return found == m_rows.end() ? nullptr : found->second.get();
    }
    void add(const handle<Key>& kept) { m_rows.emplace(kept->id, kept); }
    void trim() {}

private:
    absl::flat_hash_map<Key, handle<Key>> m_rows;
};

/// Resolves chunks by one of the above: distinct keys, look-ups, one fetch for the rest, and a row per key.
template <class Key, class Cache>
class chunk_loop {
public:
    static constexpr const char* name = Cache::name;
    template <class Fetch>
    chunk_loop(std::size_t entries, Fetch fetch) : m_cache(entries), m_fetch(std::move(fetch)) {}

    /// Calls `use(row)` per key of the chunk.
    template <class Use>
    void resolve(std::span<const Key> chunk, Use&& use) {
        mp::key_set<Key> distinct;
        distinct.reserve(chunk.size());
        m_positions.clear();
        for (const Key& key : chunk) {
            m_positions.push_back(distinct.add(key));
        }
        m_rows.assign(distinct.size(), nullptr);
        m_missed.clear();
        for (mp::slot_id position = 0; position < distinct.size(); ++position) {
            m_rows[position] = m_cache.find(distinct[position]);
            if (m_rows[position] == nullptr) {
                m_missed.push_back(distinct[position]);
            }
        }
        misses += m_missed.size();
        if (!m_missed.empty()) {
            for (const handle<Key>& fetched : m_fetch(std::span<const Key>(m_missed))) {
                m_rows[distinct.find(fetched->id)] = fetched.get();
                m_cache.add(fetched);
            }
        }
        for (const mp::slot_id position : m_positions) {
            use(m_rows[position]);
        }
        m_cache.trim(); // only now: rows that this chunk uses must not go
    }
    std::size_t misses = 0;

private:
    Cache m_cache;
    std::function<std::vector<handle<Key>>(std::span<const Key>)> m_fetch;
    std::vector<mp::slot_id> m_positions;
    std::vector<const row<Key>*> m_rows;
    std::vector<Key> m_missed;
};

/// This library.
template <class Key>
class memo {
public:
    static constexpr const char* name = "mp::memo";
    template <class Fetch>
    memo(std::size_t entries, Fetch fetch)
        : m_rows([](const row<Key>& one) -> const Key& { return one.id; }, std::move(fetch), {.entries = entries}) {}
    template <class Use>
    void resolve(std::span<const Key> chunk, Use&& use) {
        for (const row<Key>* one : m_rows.resolve(chunk)) {
            use(one);
        }
    }
    [[nodiscard]] mp::memo_stats stats() const { return m_rows.stats(); }

private:
    mp::memo<row<Key>, Key> m_rows;
};

/// Only what all of them share: finding the distinct keys.
template <class Key>
class dedupe_alone {
public:
    static constexpr const char* name = "dedupe alone";
    void resolve(std::span<const Key> chunk, std::vector<mp::slot_id>& positions) const {
        mp::key_set<Key> distinct;
        distinct.reserve(chunk.size());
        positions.clear();
        for (const Key& key : chunk) {
            positions.push_back(distinct.add(key));
        }
    }
};

} // namespace contenders
