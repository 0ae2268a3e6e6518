/// open_passes: the passes of one chunk that still pin what they use, and how they end.
///
/// The prefetcher of the C++ library and the Python binding end their chunks by this code.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// A pass with what its end needs: counters, and what has to outlive it.
class open_pass {
public:
    open_pass() = default;
    open_pass(const open_pass&) = delete;
    open_pass& operator=(const open_pass&) = delete;
    virtual ~open_pass() = default;

    /// Takes out what the pass added.
    virtual void roll_back() noexcept = 0;
    /// Ends the pins only.
    virtual void unpin() noexcept = 0;
    /// Trims the tables to their bounds, and counts what they evicted.
    virtual void release() noexcept = 0;
};

/// Ends its passes when it is closed or destroyed.
///
/// All pins end before any table is trimmed. Otherwise, of two passes over one table, the first to end would evict
/// entries in place of those that the other still pins.
class open_passes {
public:
    open_passes() = default;
    open_passes(open_passes&&) noexcept = default;
    open_passes(const open_passes&) = delete;
    open_passes& operator=(const open_passes&) = delete;
    open_passes& operator=(open_passes&&) = delete;
    ~open_passes() { close(); }

    /// Makes room for so many more: then adding them cannot fail.
    void reserve_more(std::size_t count) { m_passes.reserve(m_passes.size() + count); }
    /// Adds a pass that has been committed.
    void add(std::unique_ptr<open_pass> pass) noexcept { m_passes.push_back(std::move(pass)); }
    /// Adds a pass that failed, and takes out at once what it added. It is released last, so that the other passes
    /// count what is evicted, as if it had not run.
    void add_failed(std::unique_ptr<open_pass> pass) noexcept {
        pass->roll_back();
        m_passes.insert(m_passes.begin(), std::move(pass));
    }
    /// Ends them. The newest committed pass is released first.
    void close() noexcept {
        for (const auto& pass : m_passes) {
            pass->unpin();
        }
        // Each pass leaves the list before it is released, as releasing rows may run any code.
        while (!m_passes.empty()) {
            const std::unique_ptr<open_pass> pass = std::move(m_passes.back());
            m_passes.pop_back();
            pass->release();
        }
    }

private:
    std::vector<std::unique_ptr<open_pass>> m_passes;
};

} // namespace memoized_prefetch
