// Compares random scripts of chunks, erasures, bounds and changes with the naive tables. On a failure rapidcheck prints
// the seed and the smallest script that fails; RC_PARAMS="seed=..." repeats it.
#include "support/corpus.hpp"
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
    const auto corpus = support::corpus_of("scripts");
    EXPECT_GT(corpus.size(), 10U);
    for (const auto& [name, script] : corpus) {
        SCOPED_TRACE(name);
        EXPECT_NO_THROW(random_script::run(script));
    }
}
