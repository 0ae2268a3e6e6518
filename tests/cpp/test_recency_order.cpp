// Entries are ordered by last use; the least recently used ones go when the bound is exceeded.
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

using namespace memoized_prefetch;
using memo = memo_table<int, std::shared_ptr<const std::string>>;
using support::keys;

namespace {
slot_id put(memo& table, int key) {
    table.reserve_more(1);
    return table.add_row(key, std::make_shared<const std::string>(std::to_string(key)));
}
} // namespace

TEST(recency_order, starts_with_the_newest) {
    memo table;
    for (const int key : {1, 2, 3}) {
        put(table, key);
    }
    EXPECT_EQ(keys(table), (std::vector{3, 2, 1}));
}

TEST(recency_order, changes_by_use_and_not_by_find) {
    memo table;
    for (const int key : {1, 2, 3, 4}) {
        put(table, key);
    }
    EXPECT_NE(table.find(1), no_slot);
    EXPECT_EQ(keys(table), (std::vector{4, 3, 2, 1}));
    table.use(table.find(1)); // the oldest
    EXPECT_EQ(keys(table), (std::vector{1, 4, 3, 2}));
    table.use(table.find(3)); // from the middle
    EXPECT_EQ(keys(table), (std::vector{3, 1, 4, 2}));
    table.use(table.find(3)); // the newest
    EXPECT_EQ(keys(table), (std::vector{3, 1, 4, 2}));
    EXPECT_TRUE(table.consistent());
}

TEST(recency_order, changes_for_many_at_once_by_the_newest_use_of_each) {
    memo table;
    for (const int key : {1, 2, 3, 4}) {
        put(table, key);
    }
    const slot_id two = table.find(2);
    const slot_id three = table.find(3);
    const slot_id gone = table.find(1);
    table.pin(gone);
    table.erase(gone);
    table.use(std::array{two, no_slot, three, gone, two});
    EXPECT_EQ(keys(table), (std::vector{2, 3, 4}));
    EXPECT_TRUE(table.consistent());
    table.use(std::span<const slot_id>{});
    EXPECT_EQ(keys(table), (std::vector{2, 3, 4}));
    table.unpin(gone);
    table.reclaim();
    EXPECT_TRUE(table.consistent());
}

TEST(recency_order, decides_what_trim_evicts) {
    memo table(2);
    for (const int key : {1, 2, 3, 4}) {
        put(table, key);
    }
    table.use(table.find(1));
    EXPECT_EQ(table.size(), 4U) << "the bound holds after trim only";
    EXPECT_EQ(table.trim(), 2U);
    EXPECT_EQ(keys(table), (std::vector{1, 4}));
    EXPECT_EQ(table.trim(), 0U);
    EXPECT_EQ(table.find(2), no_slot);
    table.reclaim();
    EXPECT_TRUE(table.consistent());
}

TEST(recency_order, bound_may_be_changed_or_zero_or_none) {
    memo table;
    EXPECT_EQ(table.bound(), unbounded);
    for (int key = 0; key < 100; ++key) {
        put(table, key);
    }
    EXPECT_EQ(table.trim(), 0U);
    table.set_bound(3);
    EXPECT_EQ(table.size(), 100U);
    EXPECT_EQ(table.trim(), 97U);
    EXPECT_EQ(keys(table), (std::vector{99, 98, 97}));
    table.set_bound(0);
    EXPECT_EQ(table.trim(), 3U);
    EXPECT_EQ(table.size(), 0U);
    EXPECT_EQ(table.newest(), no_slot);
    table.reclaim();
    EXPECT_TRUE(table.consistent());
}

TEST(recency_order, evicted_values_live_until_they_are_released) {
    memo table(0);
    const std::weak_ptr<const std::string> value = table.handle(put(table, 1));
    EXPECT_EQ(table.trim(), 1U);
    EXPECT_FALSE(value.expired());
    table.reclaim();
    EXPECT_TRUE(value.expired());
}
