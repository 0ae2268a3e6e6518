/// Everything that can be seen of a table, to compare before and after.
#pragma once

#include <memoized_prefetch/tables/link_table.hpp>
#include <memoized_prefetch/tables/memo_table.hpp>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <vector>

namespace support {

template <class Key, class Value>
struct table_contents {
    struct entry {
        Key key;
        Value value;
        std::uint32_t pins;
        friend bool operator==(const entry&, const entry&) = default;
    };
    std::vector<entry> newest_first;
    std::size_t size;
    std::size_t bound;
    std::uint64_t generation;
    bool consistent;
    friend bool operator==(const table_contents&, const table_contents&) = default;

    friend std::ostream& operator<<(std::ostream& out, const table_contents& what) {
        for (const entry& one : what.newest_first) {
            out << one.key << " (" << one.pins << " pins) ";
        }
        return out << "size " << what.size << " bound " << what.bound << " generation " << what.generation
                   << (what.consistent ? "" : " INCONSISTENT");
    }
};

template <class Value, class Table, class ValueOf>
auto contents_of(const Table& table, ValueOf&& value_of) {
    using namespace memoized_prefetch;
    table_contents<typename Table::key_type, Value> result{
        {}, table.size(), table.bound(), table.generation(), table.consistent()};
    for (slot_id slot = table.newest(); slot != no_slot; slot = table.older(slot)) {
        result.newest_first.push_back({table.key(slot), value_of(slot), table.pins(slot)});
    }
    return result;
}

template <class Key, class Handle, class Traits, class Allocator>
auto contents(const memoized_prefetch::memo_table<Key, Handle, Traits, Allocator>& memo) {
    return contents_of<Handle>(
        memo, [&](memoized_prefetch::slot_id slot) { return memo.is_absent(slot) ? Handle{} : memo.handle(slot); });
}

template <class Source, class Target, class Traits, class Allocator>
auto contents(const memoized_prefetch::link_table<Source, Target, Traits, Allocator>& links) {
    return contents_of<std::vector<Target>>(links, [&](memoized_prefetch::slot_id slot) {
        const auto targets = links.targets(slot);
        return std::vector<Target>(targets.begin(), targets.end());
    });
}

/// The keys alone, most recently used first.
template <class Table>
std::vector<typename Table::key_type> keys(const Table& table) {
    std::vector<typename Table::key_type> result;
    for (auto slot = table.newest(); slot != memoized_prefetch::no_slot; slot = table.older(slot)) {
        result.push_back(table.key(slot));
    }
    return result;
}

} // namespace support
