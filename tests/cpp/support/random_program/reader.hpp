/// Bytes as a program. What is missing at their end reads as zeros.
#pragma once

#include "program.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace support::program {

/// Bytes as operations.
class reader {
public:
    explicit reader(std::span<const std::uint8_t> bytes) : m_bytes(bytes) {}
    [[nodiscard]] bool empty() const noexcept { return m_bytes.empty(); }

    id next(id below) {
        if (m_bytes.empty()) {
            return 0;
        }
        const id value = m_bytes.front() % below;
        m_bytes = m_bytes.subspan(1);
        return value;
    }
    std::size_t next_size(std::size_t below) { return static_cast<std::size_t>(next(static_cast<id>(below))); }
    std::optional<id> next_or_null(id below) {
        const id value = next(below + 1);
        return value == below ? std::nullopt : std::optional<id>(value);
    }
    program::size next_bound() {
        switch (const std::size_t value = next_size(10)) {
        case 6:
            return {mp::unbounded, mp::unbounded};
        case 7:
            return {{}, 200};
        case 8:
            return {{}, 32 << 20, 1 << 20}; // enough for all shards of a shared memo
        case 9:
            return {3, 260};
        default:
            return {value, mp::unbounded};
        }
    }
    operation next_operation(int depth) {
        operation one;
        one.what = static_cast<action>(next(7));
        switch (one.what) {
        case action::process:
        case action::pin:
            one.chunk = static_cast<chunk_of>(next(one.what == action::process ? 2 : 3));
            one.shape = next(3);
            one.objects.resize(next_size(6));
            for (object& each : one.objects) {
                each.number = &each - one.objects.data();
                if (one.chunk == chunk_of::reviews) {
                    each.keys = {next(book_keys), next_or_null(author_keys)};
                } else {
                    const id pk = next(book_keys);
                    each.keys = {next(author_keys), pk, next_or_null(author_keys), pk};
                }
            }
            break;
        case action::resolve:
            one.table = next_size(memos);
            one.kept = next(2) == 0;
            one.keys.resize(next_size(6));
            for (auto& key : one.keys) {
                key = next_or_null(author_keys);
            }
            break;
        case action::put_all:
            one.table = next_size(memos);
            one.rows.resize(next_size(6));
            for (id& key : one.rows) {
                key = next(author_keys);
            }
            break;
        case action::end_pin:
            one.key = next(4);
            break;
        case action::invalidate:
        case action::clear:
            one.table = next_size(all_tables);
            one.key = one.what == action::invalidate ? next(author_keys) : 0;
            break;
        }
        const id mishaps = next(6);
        if (mishaps == 0 || mishaps == 1) {
            one.fails = static_cast<failing>(next(6));
            one.fails_in = next_size(all_tables);
            one.fails_at = one.fails == failing::fetch ? 0 : next(6);
        }
        if ((mishaps == 1 || mishaps == 2) && depth < 2) {
            one.during_fetch_of = next_size(all_tables);
            one.during = std::make_shared<const operation>(next_operation(depth + 1));
        }
        return one;
    }

private:
    std::span<const std::uint8_t> m_bytes;
};

} // namespace support::program
