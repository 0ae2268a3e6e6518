// What a run would fetch, worked out from numbered keys: compared with what naive tables fetch, and with every way of
// choosing what to keep.
#include <memoized_prefetch/lookahead/lookahead.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <list>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

using namespace memoized_prefetch;

namespace {

using trace = std::vector<std::vector<key_number>>; // by chunk: the keys that it uses, in order

trace random_trace(std::mt19937& random, std::size_t chunks, std::size_t most_uses, key_number keys) {
    trace result(chunks);
    for (auto& chunk : result) {
        chunk.resize(random() % (most_uses + 1));
        for (key_number& key : chunk) {
            key = static_cast<key_number>(random() % keys);
        }
    }
    return result;
}

/// The fewest keys that a table of `kept` entries can fetch, whatever it keeps: tries every choice after every chunk.
std::uint64_t fewest(const trace& chunks, std::size_t kept) {
    std::map<std::uint32_t, std::uint64_t> fetched{{0U, 0U}}; // by the set of keys kept
    for (const auto& chunk : chunks) {
        std::uint32_t used = 0;
        for (const key_number key : chunk) {
            used |= 1U << key;
        }
        std::map<std::uint32_t, std::uint64_t> next;
        for (const auto& [before, so_far] : fetched) {
            const auto missing = static_cast<std::uint64_t>(std::popcount(used & ~before));
            const std::uint32_t there = before | used;
            for (std::uint32_t choice = there;; choice = (choice - 1) & there) {
                if (static_cast<std::size_t>(std::popcount(choice)) <= kept) {
                    const auto [at, is_new] = next.try_emplace(choice, so_far + missing);
                    at->second = std::min(at->second, so_far + missing);
                }
                if (choice == 0) {
                    break;
                }
            }
        }
        fetched = std::move(next);
    }
    std::uint64_t best = ~std::uint64_t{0};
    for (const auto& [choice, so_far] : fetched) {
        best = std::min(best, so_far);
    }
    return best;
}

/// The simplest table: a list, newest first.
std::uint64_t fetched_by_list(const trace& chunks, std::size_t kept) {
    std::list<key_number> keys;
    std::uint64_t fetched = 0;
    for (const auto& chunk : chunks) {
        for (const key_number key : chunk) {
            fetched += std::find(keys.begin(), keys.end(), key) == keys.end() ? 1U : 0U;
            keys.remove(key);
            keys.push_front(key);
        }
        while (keys.size() > kept) {
            keys.pop_back();
        }
    }
    return fetched;
}

std::uint64_t found_by(const simulated_table& table, std::size_t size) {
    std::uint64_t sum = 0;
    table.distances().visit([&](std::uint64_t needed, std::uint64_t uses) { sum += needed <= size ? uses : 0; });
    return sum;
}

} // namespace

TEST(lookahead, optimum_is_that_of_every_choice) {
    std::uint64_t better = 0;
    for (unsigned seed = 0; seed < 400; ++seed) {
        std::mt19937 random(seed);
        const key_number keys = 2 + static_cast<key_number>(random() % 5);
        const trace chunks = random_trace(random, 1 + random() % 9, 1 + random() % 5, keys);
        const std::vector<std::size_t> sizes{0, 1, 2, 3, 4};
        simulated_table table(keys, 2, chunks.size(), true, sizes);
        for (const auto& chunk : chunks) {
            for (const key_number key : chunk) {
                table.use(key);
            }
            table.end_chunk();
        }
        for (const optimal_hits& one : table.optima()) {
            const std::uint64_t optimum = table.asked() - one.found();
            ASSERT_EQ(optimum, fewest(chunks, one.kept())) << "seed " << seed << " size " << one.kept();
            ASSERT_LE(optimum, fetched_by_list(chunks, one.kept()));
            better += fetched_by_list(chunks, one.kept()) - optimum;
        }
    }
    EXPECT_GT(better, 200U) << "the optimum must matter";
}

TEST(lookahead, tables_fetch_what_a_list_fetches_and_the_curve_tells_it_for_every_size) {
    for (unsigned seed = 0; seed < 30; ++seed) {
        std::mt19937 random(seed);
        const key_number keys = 1 + static_cast<key_number>(random() % 1'500);
        const trace chunks = random_trace(random, 1 + random() % 20, 1 + random() % 300, keys);
        for (const std::size_t kept : {1U, 7U, 100U, 2'000U}) {
            simulated_table table(keys, kept, chunks.size(), true, {});
            for (const auto& chunk : chunks) {
                for (const key_number key : chunk) {
                    table.use(key);
                }
                table.end_chunk();
            }
            ASSERT_EQ(table.fetched(), fetched_by_list(chunks, kept)) << "seed " << seed;
            ASSERT_TRUE(table.distances().exact());
            for (const std::size_t size : {1U, 3U, 50U, 700U}) {
                ASSERT_EQ(table.asked() - found_by(table, size), fetched_by_list(chunks, size)) << "seed " << seed;
            }
        }
    }
}

TEST(lookahead, more_keys_than_a_sample_has_are_all_recorded) {
    constexpr key_number keys = 50'000;
    simulated_table table(keys, 10, 2, true, {});
    for (int chunk = 0; chunk < 2; ++chunk) {
        for (key_number key = 0; key < keys; ++key) {
            table.use(key);
        }
        table.end_chunk();
    }
    EXPECT_TRUE(table.distances().exact());
    EXPECT_EQ(found_by(table, keys - 1), keys - 1); // the newest key is found by a table of one entry, and so on
    EXPECT_EQ(found_by(table, keys), keys);
}

TEST(lookahead, a_relation_below_asks_for_the_keys_of_rows_that_were_fetched) {
    lookahead ahead;
    const std::size_t authors = ahead.add_table();
    const std::size_t countries = ahead.add_table();
    const std::size_t author = ahead.add_relation({authors, 0});
    const std::size_t country = ahead.add_relation({countries, 1, author, 0});
    ahead.has_keys(authors, 3);
    ahead.has_keys(countries, 2);
    for (const key_number key : {0U, 1U, 0U, 2U, 0U, no_key}) {
        ahead.add_row(author, key);
    }
    ahead.set(country, 0, 0);
    ahead.set(country, 1, 1);
    ahead.set(country, 2, no_key);
    EXPECT_TRUE(ahead.knows(country, 2));
    EXPECT_EQ(ahead.rows(author), 6U);

    const std::vector<lookahead::batch> batches(2);
    // One author is kept: author 0 is fetched in every chunk, and its country is asked for with it.
    const std::vector<lookahead::wish> one{{1, true, {}}, {5, true, {}}};
    const auto few = ahead.run(6, 2, one, batches, {});
    EXPECT_EQ(few.tables[authors].fetched(), 5U);
    EXPECT_EQ(few.tables[countries].asked(), 4U);
    EXPECT_EQ(few.tables[countries].fetched(), 2U);
    EXPECT_EQ(few.queries, (std::vector<std::uint64_t>{3, 1}));
    const std::vector<lookahead::wish> all{{lookahead::none, true, {}}, {5, true, {}}};
    const auto many = ahead.run(6, 2, all, batches, {});
    EXPECT_EQ(many.tables[authors].fetched(), 3U);
    EXPECT_EQ(many.tables[countries].asked(), 2U);
    EXPECT_EQ(many.queries, (std::vector<std::uint64_t>{2, 1}));
}

TEST(lookahead, links_are_those_of_each_row) {
    lookahead ahead;
    const std::size_t tags = ahead.add_table();
    const std::size_t relation = ahead.add_relation({tags, 0, lookahead::none, lookahead::none, lookahead::none, true});
    ahead.has_keys(tags, 3);
    ahead.begin_links(relation);
    ahead.add_link(relation, 0);
    ahead.add_link(relation, 1);
    ahead.begin_links(relation);
    ahead.begin_links(relation);
    ahead.add_link(relation, 2);
    EXPECT_EQ(ahead.rows(relation), 3U);
    const std::vector<lookahead::batch> batches{{4, 1, false}};
    const std::vector<lookahead::wish> wishes{{lookahead::none, true, {}}};
    const auto result = ahead.run(3, 2, wishes, batches, {});
    EXPECT_EQ(result.tables[tags].fetched(), 3U);
    EXPECT_EQ(result.links, 3U);
    // A statement has at most three keys, so of two keys each gets its own: links and rows of two, then one of each.
    EXPECT_EQ(result.queries, (std::vector<std::uint64_t>{6}));
}

TEST(lookahead, links_below_a_relation_are_kept_by_its_keys) {
    lookahead ahead;
    const std::size_t books = ahead.add_table();
    const std::size_t tags = ahead.add_table();
    const std::size_t links = ahead.add_table();
    const std::size_t book = ahead.add_relation({books, 0});
    const std::size_t tag = ahead.add_relation({tags, 1, book, 0, links, true});
    ahead.has_keys(books, 2);
    ahead.has_keys(tags, 2);
    ahead.has_keys(links, 2);
    for (const key_number key : {0U, 1U, 0U, 1U}) {
        ahead.add_row(book, key);
    }
    const std::vector<std::pair<key_number, key_number>> pairs{{1, 0}, {0, 1}, {0, 0}};
    ahead.set_links(tag, pairs);
    const std::vector<lookahead::wish> wishes{{1, true, {}}, {1, true, {}}, {1, true, {}}};
    const auto result = ahead.run(4, 1, wishes, std::vector<lookahead::batch>(2), {});
    EXPECT_EQ(result.tables[books].fetched(), 4U);
    EXPECT_EQ(result.tables[links].fetched(), 4U);
    EXPECT_EQ(result.tables[tags].asked(), 6U); // book 0 has two tags, book 1 has one
    EXPECT_EQ(result.links, 0U);
}

TEST(lookahead, rows_can_be_put_in_the_order_of_a_key) {
    lookahead ahead;
    const std::size_t authors = ahead.add_table();
    const std::size_t author = ahead.add_relation({authors, 0});
    ahead.has_keys(authors, 3);
    for (const key_number key : {2U, 0U, no_key, 1U, 0U, 2U}) {
        ahead.add_row(author, key);
    }
    const std::vector<std::uint32_t> ranks{1, 2, 0}; // key 2 comes first, then 0, then 1
    EXPECT_EQ(ahead.ordered_by(author, ranks), (std::vector<std::uint32_t>{2, 0, 5, 1, 4, 3}));
    const std::vector<lookahead::wish> wishes{{1, true, {}}};
    const std::vector<lookahead::batch> batches(1);
    EXPECT_EQ(ahead.run(6, 2, wishes, batches, {}).tables[authors].fetched(), 5U);
    EXPECT_EQ(ahead.run(6, 2, wishes, batches, ahead.ordered_by(author, ranks)).tables[authors].fetched(), 3U);
}
