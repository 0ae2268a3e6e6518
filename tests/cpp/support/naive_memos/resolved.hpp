/// What `resolve` of a memo returns.
#pragma once

#include "passes.hpp"

#include <optional>
#include <vector>

namespace support::naive_memos {

/// The rows of some keys, pinned.
class resolved {
public:
    resolved(memo& of, const std::vector<std::optional<id>>& keys) : m_keys(keys), m_rows((of.check(), of)) {
        try {
            std::vector<id> uses;
            for (const std::optional<id>& key : keys) {
                if (key) {
                    m_rows.ask(*key, 0);
                    uses.push_back(*key);
                }
            }
            m_rows.resolve();
            counters count;
            count.requests = uses.size();
            m_rows.commit(uses, {&count, 1});
            of.count += count;
        } catch (...) {
            m_rows.roll_back();
            m_rows.release(); // entries that were held by pins which ended meanwhile are evicted, but not counted
            throw;
        }
    }
    resolved(const resolved&) = delete;
    resolved& operator=(const resolved&) = delete;
    ~resolved() { end(); }

    std::vector<row_ptr> rows() const {
        std::vector<row_ptr> result;
        for (const std::optional<id>& key : m_keys) {
            const auto found = key ? m_rows.values.find(*key) : m_rows.values.end();
            result.push_back(found == m_rows.values.end() ? nullptr : found->second);
        }
        return result;
    }

private:
    void end() {
        m_rows.unpin();
        m_rows.of.count.evicted += m_rows.release();
    }
    std::vector<std::optional<id>> m_keys;
    rows_pass m_rows;
};

} // namespace support::naive_memos
