// The targets of a source: their order, their duplicates, and the compaction of the gaps that evicted sources leave.
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace memoized_prefetch;
using links = link_table<int, std::string>;

namespace {
slot_id put(links& table, int source, const std::vector<std::string>& targets) {
    table.reserve_links(1, targets.size());
    const slot_id slot = table.add_source(source);
    for (const std::string& target : targets) {
        table.add_target(slot, target);
    }
    return slot;
}
std::vector<std::string> targets_of(const links& table, int source) {
    const auto targets = table.targets(table.find(source));
    return {targets.begin(), targets.end()};
}
std::string name(int source, int target) {
    return "a target too long for the small string " + std::to_string(source * 10 + target);
}
} // namespace

TEST(link_targets, keep_order_and_duplicates) {
    links table;
    put(table, 1, {"b", "a", "b", "b"});
    put(table, 2, {});
    put(table, 3, {"c"});
    EXPECT_EQ(targets_of(table, 1), (std::vector<std::string>{"b", "a", "b", "b"}));
    EXPECT_TRUE(targets_of(table, 2).empty());
    EXPECT_EQ(targets_of(table, 3), std::vector<std::string>{"c"});
    EXPECT_EQ(table.stored(), 5U);
}

TEST(link_targets, are_compacted_when_gaps_prevail) {
    links table(100);
    std::size_t most_gaps = 0;
    for (int source = 0; source < 5'000; ++source) {
        put(table, source, {name(source, 1), name(source, 2), name(source, 3)});
        table.trim();
        table.reclaim();
        most_gaps = std::max(most_gaps, table.gaps());
    }
    EXPECT_GT(most_gaps, 0U) << "without gaps the test is vacuous";
    EXPECT_LE(most_gaps, 1'100U);
    EXPECT_EQ(table.stored(), 300U);
    for (int source = 4'900; source < 5'000; ++source) {
        EXPECT_EQ(targets_of(table, source), (std::vector{name(source, 1), name(source, 2), name(source, 3)}));
    }
}

TEST(link_targets, of_pinned_and_erased_sources_survive_compaction) {
    links table(10);
    const slot_id kept = put(table, -1, {"x", "y"});
    table.pin(kept);
    table.erase(kept);
    for (int source = 0; source < 3'000; ++source) {
        put(table, source, {name(source, 1)});
        table.trim();
        table.reclaim();
    }
    EXPECT_LT(table.gaps(), 2'000U);
    EXPECT_EQ(std::vector(table.targets(kept).begin(), table.targets(kept).end()),
              (std::vector<std::string>{"x", "y"}));
    table.unpin(kept);
    table.reclaim();
    EXPECT_EQ(table.stored(), 10U);
}

TEST(link_targets, visit_sees_every_key_once_and_stops_when_told) {
    links table;
    put(table, 1, {"a", "b"});
    struct {
        int sources = 0;
        int targets = 0;
        int operator()(int) { return ++sources, 0; }
        int operator()(const std::string& target) { return ++targets, target == "b" ? 7 : 0; }
    } seen;
    EXPECT_EQ(table.visit(seen), 7);
    EXPECT_EQ(seen.sources, 1);
    EXPECT_EQ(seen.targets, 2);
}
