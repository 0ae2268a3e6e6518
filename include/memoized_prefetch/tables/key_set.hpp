/// key_set: the distinct keys of one chunk, in the order in which they were first seen. It belongs to one pass.
#pragma once

#include <memoized_prefetch/tables/key_index.hpp>
#include <memoized_prefetch/tables/key_traits.hpp>
#include <memoized_prefetch/tables/roomy_array.hpp>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace memoized_prefetch {

template <class Key, class Traits = key_traits<Key>, class Allocator = std::allocator<std::byte>>
class key_set {
    template <class T>
    using vector_of = std::vector<T, typename std::allocator_traits<Allocator>::template rebind_alloc<T>>;

public:
    /// The position of `key`. A new key is added at the end.
    slot_id add(Key key) {
        const std::uint32_t tag = key_index<Allocator>::tag_of(Traits::hash(key));
        return add(std::move(key), tag);
    }
    /// The same for a key whose tag is known.
    slot_id add(Key key, std::uint32_t tag) {
        if (const slot_id known = find_tagged(tag, key); known != no_slot) {
            return known;
        }
        if (m_keys.size() == m_room) {
            reserve(std::max<std::size_t>(16, 2 * m_room));
        }
        const auto position = static_cast<slot_id>(m_keys.size());
        m_keys.push_back(std::move(key));
        m_tags.append(tag);
        m_index.insert(tag, position);
        return position;
    }

    /// The position of `key`, or `no_slot`.
    [[nodiscard]] slot_id find(const Key& key) const {
        return find_tagged(key_index<Allocator>::tag_of(Traits::hash(key)), key);
    }

    /// The same for a key that is likely to be at `guess`.
    [[nodiscard]] slot_id find(const Key& key, slot_id guess) const {
        if constexpr (noexcept(Traits::equal(key, key))) { // otherwise comparing may be expensive
            if (guess < m_keys.size() && Traits::equal(m_keys[guess], key)) {
                return guess;
            }
        }
        return find(key);
    }

    /// Makes room for `count` keys in all.
    void reserve(std::size_t count) {
        if (count > m_room) {
            m_keys.reserve(count);
            m_tags.reserve(count);
            m_index.reserve(count);
            m_room = count;
        }
    }

    /// Replaces the key at `position` by one that is equal to it.
    void replace(slot_id position, Key key) noexcept { std::swap(m_keys[position], key); }
    /// Moves the key at `position` out. Afterwards only `clear` may be called.
    [[nodiscard]] Key take(slot_id position) noexcept { return std::move(m_keys[position]); }

    /// Removes all keys and keeps the room.
    void clear() noexcept {
        constexpr std::size_t few = 16; // with more cells per key, emptying only the keys' own cells is less work
        if (m_index.bytes() > few * sizeof(std::uint64_t) * m_keys.size()) {
            for (slot_id position = 0; position < m_keys.size(); ++position) {
                m_index.erase(m_tags[position], position);
            }
        } else {
            m_index.erase_all();
        }
        m_tags.clear();
        m_keys.clear();
    }

    [[nodiscard]] std::size_t size() const noexcept { return m_keys.size(); }
    [[nodiscard]] const Key& operator[](slot_id position) const noexcept { return m_keys[position]; }
    [[nodiscard]] std::span<const Key> keys() const noexcept { return m_keys; }
    /// By position: the key's tag, the same as in the tables in which these keys are looked up.
    [[nodiscard]] std::span<const std::uint32_t> tags() const noexcept { return {m_tags.data(), m_tags.size()}; }

private:
    [[nodiscard]] slot_id find_tagged(std::uint32_t tag, const Key& key) const {
        return m_index.find(tag, [&](slot_id id) { return Traits::equal(m_keys[id], key); });
    }

    vector_of<Key> m_keys;
    roomy_array<std::uint32_t, Allocator> m_tags;
    key_index<Allocator> m_index;
    std::size_t m_room = 0;
};

} // namespace memoized_prefetch
