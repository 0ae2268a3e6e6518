/// Links and memos: tables, and the callback for what they lack.
#pragma once

#include "table.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace support::naive_memos {

/// Common to memos and links: the callback for what is not remembered, and whether it is running.
struct called {
    bool in_callback = false;
    counters count{};

    void check() const {
        if (in_callback) {
            throw misuse{};
        }
    }
};
class callback_guard {
public:
    explicit callback_guard(called& what) : m_what(what), m_before(what.in_callback) { what.in_callback = true; }
    callback_guard(const callback_guard&) = delete;
    callback_guard& operator=(const callback_guard&) = delete;
    ~callback_guard() { m_what.in_callback = m_before; }

private:
    called& m_what;
    bool m_before;
};

struct links : called {
    table sources{};
    std::function<std::vector<std::pair<id, id>>(std::span<const id>)> fetch{};
};

struct prefetcher;
struct memo : called {
    bool shared = false; // gives out rows without pins; only entries that a chunk adds are pinned, until it commits
    std::vector<table> shards = std::vector<table>(1);
    std::function<std::size_t(id)> shard_of{};
    std::function<std::vector<row_ptr>(std::span<const id>)> fetch{};
    std::function<void(const row&)> read_key{};
    std::function<std::size_t(const row*)> weight{}; // null: an absence
    prefetcher* nested = nullptr;
    bool knows_all = false;

    table& part(id key) { return shards[shard_of(key)]; }

    void invalidate(id key) {
        check();
        part(key).forget(key);
        knows_all = false;
    }
    void clear() {
        check();
        for (table& one : shards) {
            one.forget_all();
        }
        knows_all = false;
    }
    bool put_all(const std::vector<row_ptr>& rows);
};

} // namespace support::naive_memos
