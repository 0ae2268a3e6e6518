// Memory does not grow with the number of entries over time: slots of entries that left are reused.
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>

using namespace memoized_prefetch;

TEST(slot_reuse, vacant_places_are_taken_before_new_ones) {
    memo_table<int, std::shared_ptr<int>> table(10);
    std::set<slot_id> places;
    for (int key = 0; key < 1'000; ++key) {
        table.reserve_more(1);
        places.insert(table.add_row(key, std::make_shared<int>(key)));
        table.trim();
        table.reclaim();
    }
    EXPECT_LE(places.size(), 11U);
    EXPECT_EQ(support::keys(table).front(), 999);
    EXPECT_TRUE(table.consistent());
}

TEST(slot_reuse, nothing_of_the_entry_before_is_left) {
    memo_table<int, std::shared_ptr<int>> table;
    table.reserve_more(1);
    const slot_id absent = table.add_missing(1);
    table.erase(absent);
    table.reclaim();
    table.reserve_more(1);
    const slot_id row = table.add_row(2, std::make_shared<int>(2));
    EXPECT_EQ(row, absent);
    EXPECT_FALSE(table.is_absent(row));
    EXPECT_EQ(table.pins(row), 0U);
    EXPECT_EQ(table.find(1), no_slot);
    EXPECT_EQ(table.find(2), row);
}

TEST(slot_reuse, a_pinned_place_is_not_vacant) {
    memo_table<int, std::shared_ptr<int>> table;
    table.reserve_more(3);
    const slot_id first = table.add_row(1, std::make_shared<int>(1));
    table.pin(first);
    table.erase(first);
    table.reclaim();
    EXPECT_NE(table.add_row(2, std::make_shared<int>(2)), first);
    table.unpin(first);
    table.reclaim();
    EXPECT_EQ(table.add_row(3, std::make_shared<int>(3)), first);
}
