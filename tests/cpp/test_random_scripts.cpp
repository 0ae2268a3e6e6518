// Random scripts of chunks, erasures, bounds and changes, against the naive tables. On a failure rapidcheck prints the seed
// and the smallest script that fails; RC_PARAMS="seed=..." repeats it.
#include "support/random_script.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

using support::random_script;

TEST(random_scripts, shrinking_ones_agree_with_the_naive_tables) {
    EXPECT_TRUE(rc::check("the tables and the naive tables agree",
                          [](const std::vector<std::uint8_t>& script) { random_script::run(script); }));
}

TEST(random_scripts, long_ones_agree_with_the_naive_tables) {
    const std::uint32_t first_seed = std::random_device{}();
    random_script::tally all;
    for (std::uint32_t seed = first_seed; seed != first_seed + 150; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::mt19937 random(seed);
        std::vector<std::uint8_t> script(2'000);
        for (std::uint8_t& byte : script) {
            byte = static_cast<std::uint8_t>(random());
        }
        random_script::tally tally;
        ASSERT_NO_THROW(tally = random_script::run(script));
        all.chunks += tally.chunks;
        all.overlapping += tally.overlapping;
        all.nested += tally.nested;
        all.failed += tally.failed;
        all.abandoned += tally.abandoned;
    }
    EXPECT_GT(all.chunks, 10'000U);
    EXPECT_GT(all.overlapping, 1'000U);
    EXPECT_GT(all.nested, 500U);
    EXPECT_GT(all.failed, 500U);
    EXPECT_GT(all.abandoned, 500U);
}

TEST(random_scripts, of_the_fuzzer_are_replayed) {
    // What the fuzzer found worth keeping: each reaches something that the others do not.
    const std::vector<std::vector<std::uint8_t>> corpus{
        {},
        {0},
        {10, 3, 1, 2, 3, 6, 0, 12, 0, 0},                         // cleared while a chunk is open
        {10, 2, 1, 2, 10, 2, 2, 3, 12, 0, 0, 12, 0, 1},           // two open, the first abandoned
        {3, 7, 2, 1, 2, 7, 3, 7, 2, 3, 4, 11, 2, 1, 3, 12, 0, 1}, // links, a bound, links again
        {0, 7, 1, 5, 9, 5, 0, 7, 2, 5, 5},                        // a stale row
        {0, 1, 3, 1, 2, 3, 0, 7, 2, 1, 2},                        // a chunk within a query
    };
    for (const auto& script : corpus) {
        EXPECT_NO_THROW(random_script::run(script));
    }
}
