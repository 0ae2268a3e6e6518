/// A step that throws, or runs other code, on its nth call. With it, a test can make each call that may fail or
/// re-enter do so once, in turn.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <utility>

namespace support {

template <class What, class Exception>
struct tripwire {
    inline static thread_local std::uint64_t steps = 0;
    inline static thread_local std::uint64_t trips_at = 0; // 0: never

    inline static thread_local std::function<void()> action; // instead of throwing

    static void step() {
        if (++steps == trips_at) {
            if (!action) {
                throw Exception{};
            }
            action();
        }
    }

    /// While it lives, the `nth` step from now on throws, or runs the given code.
    class armed {
    public:
        explicit armed(std::uint64_t nth, std::function<void()> instead = nullptr) {
            trips_at = steps + nth;
            action = std::move(instead);
        }
        armed(const armed&) = delete;
        armed& operator=(const armed&) = delete;
        ~armed() {
            trips_at = 0;
            action = nullptr;
        }
        [[nodiscard]] static bool tripped() { return trips_at != 0 && steps >= trips_at; }
    };
};

struct broken_call : std::runtime_error {
    broken_call() : std::runtime_error("this call was to fail") {}
};

/// Calls from the engine to its user: hash, equal, read, fetch, take, key_of, valid, attach.
using user_calls = tripwire<struct user_call, broken_call>;

} // namespace support
