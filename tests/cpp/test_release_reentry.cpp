// Releasing a value may run any code, like Python's `__del__`. It finds the table consistent, and may use and change
// it.
#include "support/table_contents.hpp"

#include <memoized_prefetch/tables/pinned.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

using namespace memoized_prefetch;

namespace {
/// A handle whose last copy runs code when it goes.
struct last_words {
    std::function<void()> say;
    last_words() = default;
    explicit last_words(std::function<void()> words) : say(std::move(words)) {}
    last_words(const last_words&) = delete;
    last_words& operator=(const last_words&) = delete;
    ~last_words() {
        if (say) {
            say();
        }
    }
};
using handle = std::shared_ptr<const last_words>;
using memo = memo_table<int, handle>;
using links = link_table<int, handle>;

struct release_reentry : ::testing::Test {
    memo table{1'000};
    std::vector<int> heard;

    slot_id put(int key, std::function<void()> words = {}) {
        table.reserve_more(1);
        return table.add_row(key, std::make_shared<const last_words>(std::move(words)));
    }
    /// A row that, on its release, records its key, checks the table, and then does something to it.
    slot_id put_meddler(int key, std::function<void()> meddle = {}) {
        return put(key, [this, key, meddle = std::move(meddle)] {
            heard.push_back(key);
            EXPECT_TRUE(table.consistent());
            EXPECT_EQ(table.find(key), no_slot);
            if (meddle) {
                meddle();
            }
            EXPECT_TRUE(table.consistent());
        });
    }
};
} // namespace

TEST_F(release_reentry, while_evicting) {
    for (int key = 0; key < 50; ++key) {
        // Each release adds entries, which grow the array, evicts one more, and cleans up.
        put_meddler(key, [this, key] {
            for (int more = 0; more < 20; ++more) {
                put(1'000 + key * 20 + more);
            }
            table.trim();
            table.reclaim();
        });
    }
    table.set_bound(5);
    EXPECT_EQ(table.trim(), 45U);
    EXPECT_TRUE(heard.empty()) << "nothing may run before the table is whole";
    table.reclaim();
    EXPECT_EQ(heard.size(), 50U) << "the rows added by the first drove out the rest";
    EXPECT_EQ(table.size(), 5U);
    EXPECT_TRUE(table.consistent());
}

TEST_F(release_reentry, while_clearing) {
    for (int key = 0; key < 10; ++key) {
        put_meddler(key, [this, key] {
            table.clear();
            put(100 + key);
        });
    }
    table.clear();
    EXPECT_EQ(heard.size(), 10U);
    EXPECT_TRUE(table.consistent());
    EXPECT_LE(table.size(), 10U);
}

TEST_F(release_reentry, while_a_pin_ends) {
    table.set_bound(0);
    {
        pinned<memo> chunk(table);
        chunk.reserve_more(2);
        chunk.add(put_meddler(1, [this] { put_meddler(3); }));
        chunk.add(put_meddler(2));
        table.erase(table.find(2));
    }
    EXPECT_EQ(heard.size(), 2U);
    EXPECT_EQ(support::keys(table), std::vector<int>{3}) << "added after the trim; the next one takes it";
    EXPECT_EQ(table.trim(), 1U);
    table.reclaim();
    EXPECT_EQ(heard.size(), 3U);
}

TEST_F(release_reentry, while_the_value_of_an_erased_entry_is_replaced_at_its_place) {
    put_meddler(1, [this] { put(2); });
    table.erase(table.find(1));
    table.reclaim();
    EXPECT_EQ(support::keys(table), std::vector<int>{2});
    EXPECT_TRUE(table.consistent());
}

TEST(release_reentry_of_links, targets_may_run_code_that_compacts_them) {
    links table(2'000);
    int heard = 0;
    int next = 10'000;
    const auto put = [&](int source, int count, bool meddles) {
        table.reserve_links(1, static_cast<std::size_t>(count));
        const slot_id slot = table.add_source(source);
        for (int target = 0; target < count; ++target) {
            table.add_target(slot, std::make_shared<const last_words>(meddles ? [&] {
                ++heard;
                table.reserve_links(1, 1);
                table.add_source(next++);
                EXPECT_TRUE(table.consistent());
            } : std::function<void()>{}));
        }
    };
    for (int source = 0; source < 1'500; ++source) {
        put(source, 2, source % 3 == 0);
    }
    table.set_bound(100);
    table.trim();
    const std::size_t stored = table.stored();
    table.reclaim();
    EXPECT_GT(heard, 900);
    EXPECT_LT(table.stored(), stored);
    EXPECT_TRUE(table.consistent());
    table.clear();
    EXPECT_EQ(heard, 1'000);
    EXPECT_EQ(table.stored(), 0U);
}
