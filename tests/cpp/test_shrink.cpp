// A chunk much larger than its table leaves the table small.
#include "support/bombing_allocator.hpp"
#include "support/table_contents.hpp"

#include <memoized_prefetch/tables/pinned.hpp>

#include <gtest/gtest.h>

#include <memory>

using namespace memoized_prefetch;
using support::allocations;
using support::contents;

namespace {

constexpr int huge = 100'000;
using memo = memo_table<int, std::shared_ptr<int>, key_traits<int>, support::bombing_allocator<std::byte>>;

/// Adds pinned entries. Every third row is absent.
void add_many(memo& table, pinned<memo>& pins) {
    table.reserve_more(huge);
    pins.reserve_more(huge);
    for (int key = 0; key < huge; ++key) {
        pins.add(key % 3 == 0 ? table.add_missing(key) : table.add_row(key, std::make_shared<int>(key)));
    }
}
void use_more(memo& table) {
    for (int key = huge; key < huge + 5; ++key) {
        table.reserve_more(1);
        table.add_row(key, std::make_shared<int>(key));
    }
    table.trim();
    table.reclaim();
    ASSERT_TRUE(table.consistent());
    ASSERT_EQ(*table.handle(table.newest()), huge + 4);
}

} // namespace

TEST(shrink, keeps_the_entries_and_their_order) {
    memo table(1'000);
    std::size_t during = 0;
    {
        pinned<memo> pins(table);
        add_many(table, pins);
        during = table.bytes();
    }
    ASSERT_EQ(table.size(), 1'000U);
    EXPECT_TRUE(table.consistent());
    EXPECT_LT(table.bytes(), during / 50);
    int expected = huge;
    for (slot_id slot = table.newest(); slot != no_slot; slot = table.older(slot)) {
        ASSERT_EQ(table.key(slot), --expected);
        ASSERT_EQ(table.find(expected), slot);
        ASSERT_EQ(table.is_absent(slot), expected % 3 == 0);
        ASSERT_TRUE(table.is_absent(slot) || *table.handle(slot) == expected);
    }
    use_more(table);
}

TEST(shrink, keeps_the_weights) {
    memo table;
    table.set_weight_bound(100);
    {
        pinned<memo> pins(table);
        table.reserve_more(huge);
        pins.reserve_more(huge);
        for (int key = 0; key < huge; ++key) {
            const slot_id slot = table.add_row(key, std::make_shared<int>(key));
            table.weigh(slot, 1);
            pins.add(slot);
        }
    }
    EXPECT_EQ(table.size(), 100U);
    EXPECT_EQ(table.weight(), 100U);
    EXPECT_TRUE(table.consistent());
    table.erase(table.newest());
    EXPECT_EQ(table.weight(), 99U);
    table.reclaim();
}

TEST(shrink, waits_for_the_last_pass) {
    memo table(1'000);
    pinned<memo> other(table);
    std::size_t during = 0;
    {
        pinned<memo> pins(table);
        add_many(table, pins);
        during = table.bytes();
    }
    EXPECT_EQ(table.bytes(), during);
    other.release();
    EXPECT_EQ(table.bytes(), during);
}

TEST(shrink, leaves_a_table_alone_that_keeps_much) {
    memo table(huge / 2);
    {
        pinned<memo> pins(table);
        add_many(table, pins);
    }
    const std::size_t after = table.bytes();
    EXPECT_GT(after, huge * 40U);
    EXPECT_EQ(table.size(), huge / 2U);
}

TEST(shrink, changes_nothing_when_it_cannot_allocate) {
    std::uint64_t failures = 0;
    for (bool failed = true; failed;) {
        memo table(10);
        std::size_t during = 0;
        {
            auto pins = std::make_unique<pinned<memo>>(table);
            add_many(table, *pins);
            during = table.bytes();
            pins->release();
            const auto before = contents(table);
            const allocations::armed bomb(failures + 1);
            pins.reset();
            failed = table.bytes() == during;
            ASSERT_EQ(contents(table), before);
        }
        ASSERT_TRUE(table.consistent());
        failures += failed ? 1U : 0U;
        use_more(table);
    }
    EXPECT_GT(failures, 3U);
}
