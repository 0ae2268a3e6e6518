// The distinct keys of a chunk, in the order in which they were first seen.
#include "support/bombing_allocator.hpp"
#include "support/watched_traits.hpp"

#include <memoized_prefetch/tables/key_set.hpp>

#include <gtest/gtest.h>

#include <string>

using namespace memoized_prefetch;

TEST(key_set, numbers_distinct_keys_in_first_seen_order) {
    key_set<std::string> keys;
    EXPECT_EQ(keys.add("b"), 0U);
    EXPECT_EQ(keys.add("a"), 1U);
    EXPECT_EQ(keys.add("b"), 0U);
    EXPECT_EQ(keys.add("c"), 2U);
    EXPECT_EQ(keys.size(), 3U);
    EXPECT_EQ(keys[0], "b");
    EXPECT_EQ(keys.find("c"), 2U);
    EXPECT_EQ(keys.find("d"), no_slot);
}

TEST(key_set, is_as_before_when_a_hash_or_a_comparison_throws) {
    using traits = support::watched_traits<int>;
    key_set<int, traits> keys;
    traits::collide = true;
    keys.add(1);
    for (const std::uint64_t nth : {1U, 2U}) {
        const support::user_calls::armed call(nth);
        EXPECT_THROW(keys.add(2), support::broken_call);
        EXPECT_EQ(keys.size(), 1U);
    }
    EXPECT_EQ(keys.add(2), 1U);
    traits::collide = false;
}

TEST(key_set, is_as_before_when_an_allocation_fails) {
    key_set<int, key_traits<int>, support::bombing_allocator<std::byte>> keys;
    int failures = 0;
    for (int key = 0; key < 100; ++key) {
        for (std::uint64_t nth = 1;; ++nth) {
            const support::allocations::armed bomb(nth);
            try {
                EXPECT_EQ(keys.add(key), static_cast<slot_id>(key));
                break;
            } catch (const std::bad_alloc&) {
                ++failures;
                EXPECT_EQ(keys.size(), static_cast<std::size_t>(key));
                EXPECT_EQ(keys.find(key), no_slot);
            }
        }
    }
    EXPECT_GT(failures, 0);
}
