// A hit allocates nothing, and the cost of a chunk does not depend on how much is remembered.
#include "support/bombing_allocator.hpp"
#include "support/bookshop.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>

#include <tuple>

using namespace bookshop;
using support::allocations;
using traits = support::watched_traits<id>;
using bombing = support::bombing_allocator<std::byte>;

namespace {
/// A handle as cheap as a pointer, for a million of them.
using memo = mp::memo_table<id, const author*, traits, bombing>;
using links = mp::link_table<id, id, traits, bombing>;

const author one_for_all{};

struct counted_rows {
    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        for (const id key : asked) {
            last = key;
            take(&one_for_all);
        }
    }
    [[nodiscard]] id key_of(const author*) const { return last; }
    static bool valid(const author*, id) { return true; }
    id last = 0;
};
struct counted_objects {
    std::vector<id> keys;
    [[nodiscard]] std::size_t size() const { return keys.size(); }
    static std::size_t width() { return 1; }
    void read(std::size_t i, std::span<mp::key_reading<id>> out) const { out[0] = {mp::key_state::present, keys[i]}; }
    static void attach(std::size_t, std::span<const author* const* const>) {}
};
struct counted_links {
    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        for (const id key : asked) {
            take(key, key % 100);
            take(key, key % 101);
        }
    }
};

using cost = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>; // hashes, comparisons, allocations

cost paid() { return {traits::hashes, traits::comparisons, allocations::steps}; }
cost operator-(const cost& left, const cost& right) {
    return {std::get<0>(left) - std::get<0>(right), std::get<1>(left) - std::get<1>(right),
            std::get<2>(left) - std::get<2>(right)};
}

/// Makes the memo full, with evictions, as after a long run.
void fill(memo& table, std::size_t size) {
    table.reserve_more(size + 4'000);
    for (std::size_t key = 0; key < size; ++key) {
        table.add_row(-1 - static_cast<id>(key), &one_for_all);
    }
}
void run(memo& table, id first_key) {
    counted_rows source;
    counted_objects objects;
    for (id key = 0; key < 1'000; ++key) {
        objects.keys.push_back(first_key + key % 500);
        objects.keys.push_back(-1 - key % 100); // remembered
    }
    mp::to_one_pass<memo> pass(table);
    const std::size_t number = pass.collect(objects);
    pass.resolve(source);
    pass.attach(number, objects);
    mp::counters count;
    pass.commit({&count, 1});
    ASSERT_EQ(count.hits, 100U);
    ASSERT_EQ(count.misses, 500U);
    ASSERT_EQ(pass.release(), 500U);
}
cost of_a_chunk(std::size_t size) {
    memo table(size);
    fill(table, size);
    for (id key = 0; key < 100; ++key) {
        table.use(table.find(-1 - key));
    }
    run(table, 1'000'000'000);
    const cost before = paid();
    run(table, 2'000'000'000);
    return paid() - before;
}
cost of_a_chunk_of_links(std::size_t size) {
    links table(size);
    memo rows(1'000);
    counted_links between;
    counted_rows source;
    const auto chunk = [&](id first) {
        counted_objects objects;
        for (id key = 0; key < 500; ++key) {
            objects.keys.push_back(first + key);
        }
        mp::to_many_pass<links, memo> pass(table, rows);
        pass.collect(objects);
        pass.resolve(between, source);
        mp::counters count;
        mp::counters link_count;
        pass.commit(count, link_count);
    };
    table.reserve_links(size + 4'000, 2 * size + 8'000);
    for (std::size_t key = 0; key < size; ++key) {
        const mp::slot_id slot = table.add_source(-1 - static_cast<id>(key));
        table.add_target(slot, 1);
        table.add_target(slot, 2);
    }
    chunk(0);
    const cost before = paid();
    chunk(10'100);
    return paid() - before;
}
} // namespace

/// The comparisons of a chunk of this size after many others. All keys differ and hash alike.
std::uint64_t comparisons_of_alike(std::size_t size, std::size_t& entries) {
    traits::collide = true;
    memo table;
    std::uint64_t before = 0;
    for (std::size_t chunk = 0; chunk < 2'000 / size; ++chunk) {
        before = traits::comparisons;
        counted_rows source;
        counted_objects objects;
        for (std::size_t key = 0; key < size; ++key) {
            objects.keys.push_back(static_cast<id>(chunk * size + key));
        }
        mp::to_one_pass<memo> pass(table);
        pass.collect(objects);
        pass.resolve(source);
        mp::counters count;
        pass.commit({&count, 1});
        EXPECT_EQ(count.fetched, size);
        pass.release();
        EXPECT_TRUE(table.consistent());
    }
    traits::collide = false;
    entries = table.size();
    return traits::comparisons - before;
}
std::uint64_t comparisons_of_alike_links(std::size_t size, std::size_t& entries) {
    traits::collide = true;
    links table;
    memo rows;
    std::uint64_t before = 0;
    for (std::size_t chunk = 0; chunk < 2'000 / size; ++chunk) {
        before = traits::comparisons;
        counted_links between;
        counted_rows source;
        counted_objects objects;
        for (std::size_t key = 0; key < size; ++key) {
            objects.keys.push_back(static_cast<id>(chunk * size + key));
        }
        mp::to_many_pass<links, memo> pass(table, rows);
        pass.collect(objects);
        pass.resolve(between, source);
        mp::counters count;
        mp::counters link_count;
        pass.commit(count, link_count);
    }
    traits::collide = false;
    EXPECT_TRUE(table.consistent() && rows.consistent());
    entries = table.size() + rows.size();
    return traits::comparisons - before;
}

TEST(cost, of_keys_that_hash_alike_is_bounded_by_the_chunk) {
    for (const std::size_t size : {10U, 50U, 200U}) {
        std::size_t entries = 0;
        // Each key is looked up in the memo, among the keys missed before it, and when its row arrives.
        EXPECT_LE(comparisons_of_alike(size, entries), size * (2 * 17 + 2 * size)) << size;
        EXPECT_EQ(entries, 16U);
        // The same, plus the two targets of each link source.
        EXPECT_LE(comparisons_of_alike_links(size, entries), 3 * size * (2 * 17 + 4 * size)) << size;
        EXPECT_EQ(entries, 32U);
    }
}

TEST(cost, of_keys_that_hash_alike_is_paid_by_who_loads_them) {
    traits::collide = true;
    memo table;
    table.reserve_more(100);
    for (id key = 0; key < 100; ++key) {
        table.loaded(table.add_row(key, &one_for_all));
    }
    for (id key = 0; key < 100; ++key) { // a memo that knows all rows keeps them
        const mp::slot_id slot = table.find(key);
        table.pin(slot);
        table.unpin(slot);
    }
    traits::collide = false;
    EXPECT_EQ(table.size(), 100U);
}

TEST(cost, of_a_hit_is_no_allocation) {
    memo table;
    fill(table, 1'000);
    const auto use_all = [&] {
        for (id key = 1; key <= 1'000; ++key) {
            const mp::slot_id slot = table.find(-key);
            table.pin(slot);
            table.use(slot);
            table.unpin(slot);
        }
        table.trim();
    };
    use_all(); // the first use of a key is remembered
    const std::uint64_t before = allocations::steps;
    for (int chunk = 0; chunk < 20; ++chunk) {
        use_all();
    }
    EXPECT_EQ(allocations::steps, before);
}

TEST(cost, of_evicting_and_refilling_is_no_allocation) {
    memo table(1'000);
    fill(table, 1'000);
    const std::uint64_t before = allocations::steps;
    for (id key = 1; key <= 10'000; ++key) {
        table.reserve_more(1);
        table.add_row(key, &one_for_all);
        table.trim();
        table.reclaim();
    }
    EXPECT_EQ(allocations::steps, before);
}

TEST(cost, of_a_chunk_does_not_depend_on_the_memo) {
    const cost small = of_a_chunk(1'000);
    const cost large = of_a_chunk(1'000'000);
    EXPECT_EQ(std::get<0>(small), std::get<0>(large)) << "hashes";
    EXPECT_EQ(std::get<2>(small), std::get<2>(large)) << "allocations";
    EXPECT_LE(std::get<2>(large), 100U);
    // Comparisons: one per key found, and some because 32-bit tags are equal by chance.
    EXPECT_LE(std::get<1>(large), std::get<1>(small) + 5);
}

TEST(cost, of_a_chunk_does_not_depend_on_the_links) {
    const cost small = of_a_chunk_of_links(1'000);
    const cost large = of_a_chunk_of_links(1'000'000);
    EXPECT_EQ(std::get<0>(small), std::get<0>(large)) << "hashes";
    EXPECT_EQ(std::get<2>(small), std::get<2>(large)) << "allocations";
    EXPECT_LE(std::get<1>(large), std::get<1>(small) + 5);
}
