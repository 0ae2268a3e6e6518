// A running chunk's entries stay, whatever the bound. When the chunk ends, in any way, the bound holds again.
#include "support/table_contents.hpp"

#include <memoized_prefetch/tables/pinned.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>

using namespace memoized_prefetch;
using memo = memo_table<int, std::shared_ptr<int>>;
using support::keys;

namespace {
slot_id put(memo& table, int key) {
    table.reserve_more(1);
    return table.add_row(key, std::make_shared<int>(key));
}
void add(pinned<memo>& pins, slot_id slot) {
    pins.reserve_more(1);
    pins.add(slot);
}
} // namespace

TEST(pins, keep_entries_beyond_the_bound_until_they_end) {
    memo table(1);
    {
        pinned<memo> chunk(table);
        for (const int key : {1, 2, 3}) {
            add(chunk, put(table, key));
        }
        put(table, 4);
        EXPECT_EQ(table.trim(), 1U) << "only 4 is free to go, new as it is";
        EXPECT_EQ(keys(table), (std::vector{3, 2, 1}));
    }
    EXPECT_EQ(keys(table), (std::vector{3}));
    EXPECT_EQ(table.pins(table.find(3)), 0U);
    EXPECT_TRUE(table.consistent());
}

TEST(pins, are_counted_by_overlapping_chunks) {
    memo table(0);
    pinned<memo> first(table);
    const slot_id slot = put(table, 1);
    add(first, slot);
    {
        pinned<memo> second(table);
        add(second, slot);
        EXPECT_EQ(table.pins(slot), 2U);
        EXPECT_EQ(first.release(), 0U);
        EXPECT_EQ(keys(table), (std::vector{1}));
    }
    EXPECT_EQ(table.size(), 0U);
}

TEST(pins, keep_the_value_of_an_entry_that_was_erased) {
    memo table;
    pinned<memo> chunk(table);
    const slot_id old = put(table, 1);
    const std::weak_ptr<int> value = table.handle(old);
    add(chunk, old);
    table.erase(old);
    table.reclaim();
    EXPECT_EQ(table.find(1), no_slot);
    EXPECT_FALSE(table.is_living(old));
    EXPECT_EQ(*table.handle(old), 1);

    const slot_id again = put(table, 1); // the key may come back meanwhile, in another place
    EXPECT_NE(again, old);
    table.use(old);
    EXPECT_EQ(keys(table), (std::vector{1}));
    EXPECT_TRUE(table.consistent());
    EXPECT_EQ(chunk.release(), 0U);
    EXPECT_TRUE(value.expired());
    EXPECT_EQ(*table.handle(again), 1);
    EXPECT_TRUE(table.consistent());
}

TEST(pins, outlive_clear) {
    memo table;
    pinned<memo> chunk(table);
    const slot_id slot = put(table, 1);
    put(table, 2);
    add(chunk, slot);
    table.clear();
    EXPECT_EQ(table.size(), 0U);
    EXPECT_EQ(*table.handle(slot), 1);
    const std::weak_ptr<int> value = table.handle(slot);
    chunk.release();
    EXPECT_TRUE(value.expired());
}

TEST(pins, end_with_an_exception) {
    memo table(1);
    try {
        pinned<memo> chunk(table);
        add(chunk, put(table, 1));
        add(chunk, put(table, 2));
        throw std::runtime_error("a query failed");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(keys(table), (std::vector{2}));
    EXPECT_EQ(table.pins(table.find(2)), 0U);
}

TEST(pins, release_may_be_called_twice) {
    memo table(0);
    pinned<memo> chunk(table);
    add(chunk, put(table, 1));
    EXPECT_EQ(chunk.release(), 1U);
    EXPECT_EQ(chunk.release(), 0U);
}
