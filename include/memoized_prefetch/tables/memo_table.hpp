/// memo_table: the rows of one table that were fetched before, by key, most recently used first.
///
/// A value is a handle: something small that shares a row (a `std::shared_ptr<const Row>`, a reference to a Python
/// object). "There is no such row" is remembered too, as an entry without a handle. It counts against the bound;
/// `is_absent` tells it apart. See recency_table.hpp for order, pins and bound.
#pragma once

#include <memoized_prefetch/tables/chunk_buffers.hpp>
#include <memoized_prefetch/tables/recency_table.hpp>

namespace memoized_prefetch {

template <class Key, class Handle, class Traits = key_traits<Key>, class Allocator = std::allocator<std::byte>>
class memo_table : public recency_table<memo_table<Key, Handle, Traits, Allocator>, Key, Handle, Traits, Allocator> {
    using base = recency_table<memo_table, Key, Handle, Traits, Allocator>;
    friend base;

public:
    using handle_type = Handle;
    using buffers_type = chunk_buffers<Key, Handle, Traits, Allocator>;

    explicit memo_table(std::size_t bound = unbounded) noexcept : base(bound) {}
    memo_table(const memo_table&) = delete;
    memo_table& operator=(const memo_table&) = delete;
    ~memo_table() { base::clear(); }

    /// Adds a row, or an absence, under a new key. `tag` is the key's `tag_of`. Needs room from `reserve_more`.
    slot_id add_row(Key key, std::uint32_t tag, Handle handle) noexcept {
        return base::add(std::move(key), tag, std::move(handle));
    }
    slot_id add_missing(Key key, std::uint32_t tag) noexcept { return base::add(std::move(key), tag, Handle{}, true); }
    /// The same, hashing the key first. If that throws, nothing is changed.
    slot_id add_row(Key key, Handle handle) {
        const std::uint32_t tag = base::tag_of(key);
        return add_row(std::move(key), tag, std::move(handle));
    }
    slot_id add_missing(Key key) {
        const std::uint32_t tag = base::tag_of(key);
        return add_missing(std::move(key), tag);
    }

    /// The null handle for an absence.
    [[nodiscard]] const Handle& handle(slot_id slot) const noexcept { return base::payload(slot); }
    [[nodiscard]] bool is_absent(slot_id slot) const noexcept { return base::nodes()[slot].absent; }

    /// Replaces an entry's handle and returns the old one, for the caller to drop.
    [[nodiscard]] Handle exchange(slot_id slot, Handle handle) noexcept {
        base::nodes()[slot].absent = !static_cast<bool>(handle);
        return std::exchange(base::payload(slot), std::move(handle));
    }

    /// Takes the handle of one retired entry, for the caller to drop; false when there is none left.
    bool take_retired(Handle& into) noexcept {
        return base::nodes().reclaim_one([&](slot_id slot) { into = std::exchange(base::payload(slot), Handle{}); });
    }

    /// Calls `visit(key, handle)` for everything the table still holds, until it returns non-zero; returns that.
    template <class Visit>
    int visit(Visit&& visit) const {
        return base::nodes().visit([&](const auto& entry) { return visit(entry.key, entry.payload); });
    }

    /// Empty working memory for a chunk. Chunks that run at the same time each have their own.
    [[nodiscard]] buffers_type take_buffers() noexcept { return std::exchange(m_buffers, {}); }
    /// Keeps working memory for the next chunk.
    void keep_buffers(buffers_type buffers) noexcept {
        const std::size_t room = buffers.places.capacity();
        if (m_buffers.places.capacity() < room && room <= most_kept + 1) {
            std::swap(m_buffers, buffers);
        }
    }

private:
    void release_payload(slot_id slot) noexcept {
        [[maybe_unused]] const Handle gone = std::exchange(base::payload(slot), Handle{});
    }

    buffers_type m_buffers;
};

} // namespace memoized_prefetch
