/// key_set: the distinct keys of one chunk, in first-seen order. It belongs to one pass and is never shared.
#pragma once

#include <memoized_prefetch/key_index.hpp>
#include <memoized_prefetch/key_traits.hpp>

#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Key, class Traits = key_traits<Key>, class Allocator = std::allocator<std::byte>>
class key_set {
public:
    /// The position of `key`, which is added at the end when it is new.
    slot_id add(Key key) {
        const std::uint32_t tag = key_index<Allocator>::tag_of(Traits::hash(key));
        if (const slot_id known = find(tag, key); known != no_slot) {
            return known;
        }
        const auto position = static_cast<slot_id>(m_keys.size());
        m_index.reserve(m_keys.size() + 1);
        m_keys.push_back(std::move(key));
        m_index.insert(tag, position);
        return position;
    }

    /// The position of `key`, or `no_slot`.
    [[nodiscard]] slot_id find(const Key& key) const {
        return find(key_index<Allocator>::tag_of(Traits::hash(key)), key);
    }

    /// Makes room for `count` keys in all.
    void reserve(std::size_t count) {
        m_keys.reserve(count);
        m_index.reserve(count);
    }

    /// Replaces the key at `position` by one that is equal to it.
    void replace(slot_id position, Key key) noexcept { std::swap(m_keys[position], key); }

    [[nodiscard]] std::size_t size() const noexcept { return m_keys.size(); }
    [[nodiscard]] const Key& operator[](slot_id position) const noexcept { return m_keys[position]; }

private:
    [[nodiscard]] slot_id find(std::uint32_t tag, const Key& key) const {
        return m_index.find(tag, [&](slot_id id) { return Traits::equal(m_keys[id], key); });
    }

    std::vector<Key, typename std::allocator_traits<Allocator>::template rebind_alloc<Key>> m_keys;
    key_index<Allocator> m_index;
};

} // namespace memoized_prefetch
