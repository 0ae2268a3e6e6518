/// collection_pass: attaches to every object the rows that refer to it (`author.books`). One fetch reads them.
///
/// Nothing is remembered: such rows belong to their object and live as long as it does. For the object model and the
/// order of the calls see key_reading.hpp. A *row source* has
///   fetch(const std::vector<Key>& asked, take)   calls take(Handle) per row, in the order in which rows are attached
///   key_of(const Handle&) -> std::optional<Key>  the key of the object that a row refers to
/// `attach(i, rows, last)`: a range of non-null handles; `last`: no later object has the same key.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>
#include <memoized_prefetch/passes/key_reading.hpp>
#include <memoized_prefetch/tables/key_set.hpp>
#include <memoized_prefetch/tables/link_table.hpp>

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Key, class Handle, class Traits = key_traits<Key>, class Allocator = std::allocator<std::byte>>
class collection_pass {
public:
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>>;

    /// `deferred`: gets the numbers of objects whose key is not loaded. Null: such a key is an error.
    template <class Objects>
    void collect(Objects& objects, vector_of<std::size_t>* deferred = nullptr) {
        collect(objects, detail::all_of{objects.size()}, deferred);
    }
    /// Collects the keys that were deferred, now that they are loaded.
    template <class Objects>
    void collect_loaded(Objects& objects, const vector_of<std::size_t>& loaded) {
        collect(objects, loaded, static_cast<vector_of<std::size_t>*>(nullptr));
    }

    /// Reads the rows that refer to the keys.
    template <class RowSource>
    void resolve(RowSource& source) {
        const vector_of<Key>& asked = missing();
        if (!asked.empty()) {
            source.fetch(asked, [&](Handle row) { take(source, std::move(row)); });
        }
        admit();
    }
    /// The steps of `resolve`, for a caller that fetches the rows itself.
    [[nodiscard]] const vector_of<Key>& missing() {
        m_ranges.resize(m_keys.size());
        m_asked.reserve(m_keys.size());
        for (slot_id position = 0; position < m_keys.size(); ++position) {
            m_asked.push_back(m_keys[position]);
        }
        return m_asked;
    }
    template <class RowSource>
    void take(RowSource& source, Handle row) {
        if (std::optional<Key> key = source.key_of(row)) {
            const slot_id position = m_keys.find(*key);
            if (position != no_slot) { // otherwise it was not asked for
                m_taken.push_back({position, std::move(row)});
                ++m_ranges[position].count;
            }
        }
    }
    /// A stable counting sort of the rows by key.
    void admit() {
        std::size_t begin = 0;
        for (link_range& range : m_ranges) {
            range.begin = begin;
            begin += range.count;
            m_found += range.count != 0 ? 1U : 0U;
            range.count = 0;
        }
        m_rows.resize(begin);
        for (referring& one : m_taken) {
            link_range& range = m_ranges[one.position];
            m_rows[range.begin + range.count++] = std::move(one.row);
        }
    }

    template <class Objects>
    void attach(Objects& objects) {
        vector_of<std::size_t> last(m_keys.size());
        for (std::size_t object = 0; object < m_positions.size(); ++object) {
            if (m_positions[object] < detail::null_slot) {
                last[m_positions[object]] = object;
            }
        }
        vector_of<const Handle*> rows;
        for (std::size_t object = 0; object < m_positions.size(); ++object) {
            const slot_id position = m_positions[object];
            if (position == no_slot) {
                continue;
            }
            rows.clear();
            const bool keyed = position != detail::null_slot;
            if (keyed) {
                const link_range range = m_ranges[position];
                for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                    rows.push_back(&m_rows[at]);
                }
            }
            objects.attach(object, std::span<const Handle* const>(rows), keyed && last[position] == object);
        }
    }

    /// Counts keys: as fetched if they have rows, else as missing.
    void commit(counters& count) const noexcept {
        count.requests += m_requests;
        count.misses += m_keys.size();
        count.fetched += m_found;
        count.missing += m_keys.size() - m_found;
    }

private:
    struct referring {
        slot_id position; // of the key
        Handle row;
    };
    template <class Objects, class Numbers>
    void collect(Objects& objects, const Numbers& which, vector_of<std::size_t>* deferred) {
        m_requests += detail::collect_keys<Key, Allocator>(objects, which, deferred, m_keys, m_positions);
    }

    key_set<Key, Traits, Allocator> m_keys;
    vector_of<slot_id> m_positions; // by object: its key
    vector_of<link_range> m_ranges; // by key: within m_rows
    vector_of<Key> m_asked;
    vector_of<referring> m_taken; // in the order in which they came
    vector_of<Handle> m_rows;
    std::uint64_t m_requests = 0;
    std::size_t m_found = 0;
};

} // namespace memoized_prefetch
