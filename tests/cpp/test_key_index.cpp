// The hash index alone: it finds everything that was inserted and nothing else, whatever was erased in between.
#include "support/bombing_allocator.hpp"

#include <memoized_prefetch/tables/key_index.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <unordered_map>
#include <vector>

using namespace memoized_prefetch;
using plain_index = key_index<>;

namespace {
void matches_a_map(std::uint64_t stride, unsigned distinct_hashes) {
    SCOPED_TRACE(::testing::Message() << "stride " << stride << ", hashes " << distinct_hashes);
    plain_index tested;
    std::unordered_map<slot_id, std::uint32_t> oracle;
    std::mt19937 random(20130101);
    for (int step = 0; step < 4'000; ++step) {
        const auto id = static_cast<slot_id>(random() % 300);
        const std::uint32_t tag = plain_index::tag_of(stride * (id % distinct_hashes));
        if (oracle.count(id) == 0) {
            tested.reserve(oracle.size() + 1);
            tested.insert(tag, id);
            oracle[id] = tag;
        } else {
            tested.erase(tag, id);
            oracle.erase(id);
        }
        ASSERT_EQ(tested.size(), oracle.size());
        const auto asked = static_cast<slot_id>(random() % 300);
        const std::uint32_t asked_tag = plain_index::tag_of(stride * (asked % distinct_hashes));
        ASSERT_EQ(tested.find(asked_tag, [&](slot_id one) { return one == asked; }),
                  oracle.count(asked) != 0 ? asked : no_slot);
    }
}
} // namespace

TEST(key_index, finds_what_is_there_whatever_the_hashes_are_like) {
    for (const std::uint64_t stride : {1ULL, 8ULL, 1ULL << 20U, 1ULL << 32U, 1ULL << 52U, 0xFFFF'FFFF'FFFF'FFFFULL}) {
        matches_a_map(stride, 300);
    }
    matches_a_map(1, 1); // all in one place
    matches_a_map(1, 7);
}

TEST(key_index, finds_nothing_in_an_empty_index) {
    const plain_index tested;
    EXPECT_EQ(tested.find(1, [](slot_id) { return true; }), no_slot);
}

TEST(key_index, compares_equal_tags_only) {
    plain_index tested;
    tested.reserve(1000);
    for (slot_id id = 0; id < 1000; ++id) {
        tested.insert(plain_index::tag_of(id), id);
    }
    int comparisons = 0;
    for (slot_id id = 0; id < 1000; ++id) {
        EXPECT_EQ(tested.find(plain_index::tag_of(id),
                              [&](slot_id one) {
                                  ++comparisons;
                                  return one == id;
                              }),
                  id);
    }
    EXPECT_EQ(comparisons, 1000);
}

TEST(key_index, tells_when_many_have_one_tag) {
    plain_index tested;
    tested.reserve(100);
    const auto crowded = [&](std::uint32_t tag, slot_id id) { return tested.crowded(tag, tested.insert(tag, id)); };
    for (slot_id id = 0; id < plain_index::most_alike; ++id) {
        EXPECT_FALSE(crowded(7, id));
    }
    EXPECT_TRUE(crowded(7, 50));
    EXPECT_FALSE(crowded(8, 51)) << "beside them, but alone";
    tested.erase(7, 0);
    tested.erase(7, 1);
    EXPECT_FALSE(crowded(7, 52));
    EXPECT_TRUE(crowded(7, 53));
}

TEST(key_index, tells_when_many_begin_at_one_cell) {
    plain_index tested;
    tested.reserve(40'000);
    const auto crowded = [&](std::uint32_t tag, slot_id id) { return tested.crowded(tag, tested.insert(tag, id)); };
    for (slot_id id = 0; id < plain_index::farthest; ++id) { // the upper bits determine the home
        EXPECT_FALSE(crowded(8 * id, id));
        ASSERT_EQ(tested.prefetch(8 * id), 0U);
    }
    EXPECT_TRUE(crowded(8 * plain_index::farthest, 50'000));
    EXPECT_FALSE(crowded(0x8000'0000U, 50'001));
}

TEST(key_index, is_as_before_when_it_cannot_grow) {
    key_index<support::bombing_allocator<std::byte>> tested;
    tested.reserve(2);
    tested.insert(7, 0);
    const std::uint64_t version = tested.version();
    {
        const support::allocations::armed first(1);
        EXPECT_THROW(tested.reserve(1000), std::bad_alloc);
    }
    EXPECT_EQ(tested.version(), version);
    EXPECT_EQ(tested.find(7, [](slot_id) { return true; }), 0U);
}
