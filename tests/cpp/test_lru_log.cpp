// Compares the LRU log with a list.
#include <memoized_prefetch/tables/lru_log.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <vector>

using namespace memoized_prefetch;

namespace {

/// Entries with their places, as a table keeps them.
struct entries {
    std::map<slot_id, std::uint32_t> places{};
    std::size_t moved = 0;

    void load(slot_id entry) const { EXPECT_TRUE(places.contains(entry)); }
    void move(slot_id entry, std::uint32_t place) {
        places.at(entry) = place;
        ++moved;
    }
};

struct ordered {
    lru_log<> order{};
    entries kept{};
    std::list<slot_id> naive{}; // oldest first

    /// Uses an entry in the log only, since finding it in the list is slow. Returns how many entries were moved.
    std::size_t use_in_log(slot_id entry) {
        if (const auto known = kept.places.find(entry); known != kept.places.end()) {
            order.leave(known->second);
            kept.places.erase(known);
        }
        kept.moved = 0;
        const std::uint32_t place = order.append(entry, kept);
        kept.places[entry] = place;
        return kept.moved;
    }
    void use(slot_id entry) {
        if (kept.places.contains(entry)) {
            naive.remove(entry);
        }
        use_in_log(entry);
        naive.push_back(entry);
    }
    /// A chunk uses these entries: all leave, then all are appended again.
    void use_chunk(std::vector<slot_id> chunk) {
        for (const slot_id entry : chunk) {
            if (kept.places.contains(entry)) {
                drop(entry);
            }
        }
        order.take_back();
        for (const slot_id entry : chunk) {
            use(entry);
        }
    }
    void drop(slot_id entry) {
        order.leave(kept.places.at(entry));
        kept.places.erase(entry);
        naive.remove(entry);
    }
    [[nodiscard]] std::vector<slot_id> forwards() {
        std::vector<slot_id> all;
        for (auto place = order.oldest(); place != order.nowhere; place = order.newer(place)) {
            EXPECT_EQ(kept.places.at(order[place]), place);
            all.push_back(order[place]);
        }
        return all;
    }
    [[nodiscard]] std::vector<slot_id> backwards() const {
        std::vector<slot_id> all;
        for (auto place = order.newest(); place != order.nowhere; place = order.older(place)) {
            all.push_back(order[place]);
        }
        return all;
    }
    void check() {
        ASSERT_EQ(forwards(), std::vector<slot_id>(naive.begin(), naive.end()));
        ASSERT_EQ(backwards(), std::vector<slot_id>(naive.rbegin(), naive.rend()));
        ASSERT_EQ(order.size(), naive.size());
    }
};

} // namespace

TEST(lru_log, of_nothing_has_no_ends) {
    lru_log<> order;
    EXPECT_EQ(order.oldest(), order.nowhere);
    EXPECT_EQ(order.newest(), order.nowhere);
    order.reserve(0);
    EXPECT_EQ(order.oldest(), order.nowhere);
    EXPECT_EQ(order.newest(), order.nowhere);
}

TEST(lru_log, is_that_of_a_list_however_it_is_used) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        std::mt19937 random(seed);
        const slot_id most = std::vector<slot_id>{1, 3, 40, 700}[seed % 4];
        ordered both;
        both.order.reserve(most);
        for (int step = 0; step < 6'000; ++step) {
            const slot_id entry = static_cast<slot_id>(random() % most);
            const auto what = random() % (seed % 3 == 0 ? 2 : 50);
            if (what == 0 && both.kept.places.contains(entry)) {
                both.drop(entry);
            } else if (what == 1 && random() % 40 == 0) { // all are evicted
                while (!both.naive.empty()) {
                    ASSERT_EQ(both.order[both.order.oldest()], both.naive.front());
                    both.drop(both.naive.front());
                }
                ASSERT_EQ(both.order.oldest(), both.order.nowhere);
            } else if (what == 2 && most >= 40) {
                std::vector<slot_id> chunk(most / 20);
                for (slot_id at = 0; at < chunk.size(); ++at) {
                    chunk[at] = (entry + at) % most;
                }
                both.use_chunk(chunk);
            } else {
                both.use(entry);
            }
            if (step % 97 == 0 || most < 40) {
                both.check();
            }
        }
        both.check();
    }
}

TEST(lru_log, takes_back_the_places_at_its_end_that_were_left) {
    ordered both;
    both.order.reserve(200);
    for (slot_id entry = 0; entry < 100; ++entry) {
        both.use(entry);
    }
    both.drop(50);
    for (slot_id entry = 60; entry < 100; ++entry) {
        both.drop(entry);
    }
    both.order.take_back();
    both.check();
    both.use(7);
    EXPECT_EQ(both.kept.places.at(7), 60U); // not 50, which is free but lies before other places
    for (const slot_id entry : both.forwards()) {
        both.drop(entry);
    }
    both.order.take_back();
    both.use(7);
    EXPECT_EQ(both.kept.places.at(7), 0U);
}

TEST(lru_log, moves_few_entries_for_a_use_however_many_there_are) {
    ordered both;
    constexpr slot_id count = 5'000;
    for (slot_id entry = 0; entry < count; ++entry) {
        both.order.reserve(both.naive.size() + 1);
        both.use(entry);
    }
    std::size_t moved = 0;
    std::size_t most_moved = 0;
    std::mt19937 random(1);
    for (int use = 0; use < 20'000; ++use) {
        const std::size_t now = both.use_in_log(static_cast<slot_id>(random() % count));
        most_moved = std::max(most_moved, now);
        moved += now;
    }
    EXPECT_LE(most_moved, 64U);
    EXPECT_LE(moved, 20'000U * 5 / 4);
    EXPECT_GT(moved, 0U);
    EXPECT_LE(both.order.bytes(), count * 11U);
}
