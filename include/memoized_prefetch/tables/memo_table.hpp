/// memo_table: the rows of one table that were fetched before, by key, most recently used first.
///
/// A value is a handle: something small that shares a row (a `std::shared_ptr<const Row>`, a reference to a Python
/// object). "There is no such row" is a state of an entry too: it has no handle, counts against the bound, and is told
/// apart by `missing`. See recency_table for order, pins and bound.
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

    /// Adds the row under its key, or an absence; the key is not there, `tag` is its `tag_of`, `reserve_more` made room.
    slot_id add_row(Key key, std::uint32_t tag, Handle handle) noexcept {
        return base::add(std::move(key), tag, std::move(handle));
    }
    slot_id add_missing(Key key, std::uint32_t tag) noexcept { return base::add(std::move(key), tag, Handle{}, true); }
    /// The same where hashing the key may throw; nothing is changed then.
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
    [[nodiscard]] bool missing(slot_id slot) const noexcept { return base::mark(slot); }

    /// Puts another handle in the place of an entry's and hands that one back, for the caller to drop.
    [[nodiscard]] Handle exchange(slot_id slot, Handle handle) noexcept {
        base::set_mark(slot, !static_cast<bool>(handle));
        return std::exchange(base::payload(slot), std::move(handle));
    }

    /// Takes the handle of one entry that was evicted or erased, for the caller to drop; false when there is none left.
    bool take_buried(Handle& into) noexcept {
        return base::release_one([&](slot_id slot) { into = std::exchange(base::payload(slot), Handle{}); });
    }

    /// Calls `visit(key, handle)` for everything the table still holds, until it returns non-zero; returns that.
    template <class Visit>
    int visit(Visit&& visit) const {
        return base::visit_nodes(visit);
    }

    /// Working memory for a chunk, in which there is nothing. Chunks that run at once have each their own.
    [[nodiscard]] buffers_type take_buffers() noexcept { return std::exchange(m_buffers, {}); }
    /// For the next chunk.
    void keep_buffers(buffers_type buffers) noexcept {
        const std::size_t room = buffers.slots.capacity();
        if (m_buffers.slots.capacity() < room && room <= most_kept + 1) {
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
