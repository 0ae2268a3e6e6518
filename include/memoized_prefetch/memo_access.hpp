/// memo_access: lets passes, links and prefetchers reach a memo's private parts.
#pragma once

#include <memoized_prefetch/passes/counters.hpp>

namespace memoized_prefetch::detail {

struct memo_access {
    template <class Memo>
    static auto& table(Memo& memo) noexcept {
        return memo.m_table;
    }
    template <class Memo>
    static auto source(Memo& memo) {
        return memo.source();
    }
    template <class Memo>
    static void check(const Memo& memo) {
        memo.check_not_in_callback();
    }
    template <class Memo>
    static void count(Memo& memo, const counters& more) noexcept {
        memo.count(more);
    }
};

} // namespace memoized_prefetch::detail
