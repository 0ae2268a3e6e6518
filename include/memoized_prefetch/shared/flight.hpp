/// flight: one running call of a shared memo's fetch callback, which other threads may wait for.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace memoized_prefetch::detail {

/// The rows of one call of a fetch callback, and whether they have arrived.
template <class Key, class Handle>
class flight {
public:
    explicit flight(std::size_t size) : m_rows(size) {}

    /// Called once, by the owner. `ok`: the call succeeded, and `rows` holds what was found.
    void land(bool ok) noexcept {
        {
            const std::scoped_lock lock(m_mutex);
            m_state = ok ? state::landed : state::failed;
        }
        m_changed.notify_all();
    }
    /// Waits until the flight has ended. Returns whether the call succeeded.
    [[nodiscard]] bool wait() {
        std::unique_lock lock(m_mutex);
        m_changed.wait(lock, [&] { return m_state != state::flying; });
        return m_state == state::landed;
    }
    /// Until the flight has landed, only its owner may use the rows.
    [[nodiscard]] std::vector<Handle>& rows() noexcept { return m_rows; }

private:
    enum class state : std::uint8_t { flying, landed, failed };
    std::vector<Handle> m_rows;
    std::mutex m_mutex;
    std::condition_variable m_changed;
    state m_state = state::flying;
};

/// Marks that a fetch callback is running in this thread. Frames of one thread are nested.
class callback_frame {
public:
    explicit callback_frame(const void* table) noexcept : m_table(table), m_outer(innermost()) { innermost() = this; }
    callback_frame(const callback_frame&) = delete;
    callback_frame& operator=(const callback_frame&) = delete;
    ~callback_frame() { innermost() = m_outer; }

    [[nodiscard]] static bool within(const void* table) noexcept {
        const callback_frame* frame = innermost();
        while (frame != nullptr && frame->m_table != table) {
            frame = frame->m_outer;
        }
        return frame != nullptr;
    }

private:
    static const callback_frame*& innermost() noexcept {
        static thread_local const callback_frame* frame = nullptr;
        return frame;
    }
    const void* m_table;
    const callback_frame* m_outer;
};

} // namespace memoized_prefetch::detail
