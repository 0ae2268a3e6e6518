// Compares random programs over the library's own API with the naive memos. On a failure rapidcheck prints the seed and
// the smallest program that fails; RC_PARAMS="seed=..." repeats it.
#include "support/corpus.hpp"
#include "support/random_program.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

namespace mp = memoized_prefetch;

namespace {
template <template <class, class, class> class Memo>
void run_shrinking_ones() {
    EXPECT_TRUE(rc::check("the library and the naive memos agree",
                          [](const std::vector<std::uint8_t>& bytes) { support::random_program<Memo>::run(bytes); }));
}

template <template <class, class, class> class Memo>
void run_long_ones() {
    using program = support::random_program<Memo>;
    const std::uint32_t first_seed = std::random_device{}();
    typename program::tally all;
    for (std::uint32_t seed = first_seed; seed != first_seed + 100; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::mt19937 random(seed);
        std::vector<std::uint8_t> bytes(2'000);
        for (std::uint8_t& byte : bytes) {
            byte = static_cast<std::uint8_t>(random());
        }
        typename program::tally tally;
        ASSERT_NO_THROW(tally = program::run(bytes));
        all.operations += tally.operations;
        all.failed += tally.failed;
        all.misused += tally.misused;
        all.evicted += tally.evicted;
        all.nested += tally.nested;
        all.compared_under_pins += tally.compared_under_pins;
    }
    EXPECT_GT(all.operations, 5'000U);
    EXPECT_GT(all.failed, 150U);
    EXPECT_GT(all.misused, 50U);
    EXPECT_GT(all.evicted, 1'000U);
    EXPECT_GT(all.nested, 1'000U);
    EXPECT_GT(all.compared_under_pins, 2'000U);
}
} // namespace

TEST(random_programs, of_memos_agree_with_the_naive_memos) {
    run_shrinking_ones<mp::memo>();
    run_long_ones<mp::memo>();
}

TEST(random_programs, of_shared_memos_agree_with_the_naive_memos) {
    run_shrinking_ones<mp::shared_memo>();
    run_long_ones<mp::shared_memo>();
}

TEST(random_programs, of_the_fuzzer_are_replayed) {
    const auto corpus = support::corpus_of("programs");
    EXPECT_GT(corpus.size(), 10U);
    for (const auto& [name, bytes] : corpus) {
        SCOPED_TRACE(name);
        EXPECT_NO_THROW(support::run_program(bytes));
    }
}
