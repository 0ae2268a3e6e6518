/// link_table: source key -> the ordered keys of its targets, duplicates kept, most recently used source first.
///
///   node: [ source key | begin, count ] --> m_targets: | t t t | t | (gap) | t t |
///
/// A source without targets is an entry with none. The bound counts sources. All target keys lie in one flat array.
/// Evicted sources leave gaps in it. When the gaps are more than half of the array, the ranges in use are moved into a
/// new one, which costs O(1) per target ever added. See recency_table.hpp for order, pins and bound.
#pragma once

#include <memoized_prefetch/tables/recency_table.hpp>

#include <span>

namespace memoized_prefetch {

struct link_range {
    std::size_t begin = 0;
    std::size_t count = 0;
};

template <class Source, class Target, class Traits = key_traits<Source>, class Allocator = std::allocator<std::byte>>
class link_table
    : public recency_table<link_table<Source, Target, Traits, Allocator>, Source, link_range, Traits, Allocator> {
    using base = recency_table<link_table, Source, link_range, Traits, Allocator>;
    friend base;

public:
    using target_type = Target;

    explicit link_table(std::size_t bound = unbounded) noexcept : base(bound) {}
    link_table(const link_table&) = delete;
    link_table& operator=(const link_table&) = delete;
    ~link_table() { base::clear(); }

    /// The targets of a source, valid until the table changes.
    [[nodiscard]] std::span<const Target> targets(slot_id slot) const noexcept {
        const link_range range = base::payload(slot);
        return {m_targets.data() + range.begin, range.count};
    }

    /// Makes room for `sources` more entries with `targets` targets in all; nothing is changed when it throws.
    void reserve_links(std::size_t sources, std::size_t targets) {
        base::reserve_more(sources);
        if (m_gaps > 1024 && m_gaps * 2 > m_targets.size()) {
            compact(targets);
        } else if (m_targets.capacity() - m_targets.size() < targets) {
            m_targets.reserve(std::max(m_targets.size() + targets, m_targets.capacity() + m_targets.capacity() / 2));
        }
    }

    /// Adds a new source without targets. `add_target` then appends to it, until the next `add_source`.
    slot_id add_source(Source source, std::uint32_t tag) noexcept {
        return base::add(std::move(source), tag, {m_targets.size(), 0});
    }
    slot_id add_source(Source source) {
        const std::uint32_t tag = base::tag_of(source);
        return add_source(std::move(source), tag);
    }
    void add_target(slot_id slot, Target target) noexcept {
        assert(base::payload(slot).begin + base::payload(slot).count == m_targets.size());
        m_targets.push_back(std::move(target)); // within the capacity
        ++base::payload(slot).count;
    }

    [[nodiscard]] std::size_t bytes() const noexcept { return base::bytes() + m_targets.capacity() * sizeof(Target); }

    /// The number of target keys stored, and of gaps in the array.
    [[nodiscard]] std::size_t stored() const noexcept { return m_targets.size() - m_gaps; }
    [[nodiscard]] std::size_t gaps() const noexcept { return m_gaps; }

    /// Calls `visit(source)` and `visit(target)` for everything the table still holds, until one returns non-zero.
    template <class Visit>
    int visit(Visit&& visit) const {
        return base::nodes().visit([&](const auto& entry) {
            if (const int stop = visit(entry.key)) {
                return stop;
            }
            const link_range range = entry.payload;
            for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                if (const int stop = visit(m_targets[at])) {
                    return stop;
                }
            }
            return 0;
        });
    }

private:
    void release_payload(slot_id slot) noexcept {
        // One target at a time. Its place is given up first: destroying it may run code that compacts the array.
        while (base::payload(slot).count > 0) {
            link_range& range = base::payload(slot);
            --range.count;
            ++m_gaps;
            [[maybe_unused]] const Target gone = std::exchange(m_targets[range.begin + range.count], Target{});
        }
    }

    void compact(std::size_t more) {
        target_vector fresh;
        fresh.reserve(stored() + more);
        base::nodes().visit([&](auto& entry) {
            link_range& range = entry.payload;
            const std::size_t begin = fresh.size();
            for (std::size_t at = range.begin; at != range.begin + range.count; ++at) {
                fresh.push_back(std::move(m_targets[at]));
            }
            range.begin = begin;
        });
        m_targets.swap(fresh); // destroys only moved-from keys
        m_gaps = 0;
    }

    using target_vector = std::vector<Target, typename std::allocator_traits<Allocator>::template rebind_alloc<Target>>;
    target_vector m_targets;
    std::size_t m_gaps = 0;
};

} // namespace memoized_prefetch
