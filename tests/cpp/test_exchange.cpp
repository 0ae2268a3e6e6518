// Replacing an entry's handle: its key, its place in the order and its pins stay.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using handle = std::shared_ptr<const author>;

namespace {
struct exchange : ::testing::Test {
    author_memo memo{3};
    row_source<author> source = authors_numbered_to(9);

    void SetUp() override { process({1, 2, 3}); }
    std::vector<book> process(std::initializer_list<id> keys) {
        std::vector<book> books = books_by(keys);
        attach_authors(memo, source, books);
        return books;
    }
    static handle another(id key) { return std::make_shared<const author>(author{key, "a copy", {}, {}, false}); }
};
} // namespace

TEST_F(exchange, hands_the_old_row_back_and_serves_the_new_one) {
    const mp::slot_id slot = memo.find(2);
    const handle before = memo.handle(slot);
    const handle copy = another(2);
    EXPECT_EQ(memo.exchange(slot, copy), before);
    EXPECT_EQ(before.use_count(), 1) << "the table has let go of it";
    const std::vector<book> books = process({2});
    EXPECT_EQ(books[0].by.row, copy);
    EXPECT_EQ(source.queries.size(), 1U) << "nothing is read again";
}

TEST_F(exchange, keeps_the_order_of_use_and_the_size) {
    const std::vector<id> order = support::keys(memo);
    [[maybe_unused]] const handle before = memo.exchange(memo.find(1), another(1));
    EXPECT_EQ(support::keys(memo), order);
    EXPECT_EQ(memo.size(), 3U);
    EXPECT_TRUE(memo.consistent());
}

TEST_F(exchange, makes_a_row_an_absence_and_an_absence_a_row) {
    process({99});
    const mp::slot_id slot = memo.find(99);
    ASSERT_TRUE(memo.is_absent(slot));
    EXPECT_FALSE(memo.exchange(slot, another(99)));
    EXPECT_FALSE(memo.is_absent(slot));
    EXPECT_EQ(process({99})[0].by.state, attachment::row);
    EXPECT_TRUE(memo.exchange(slot, nullptr));
    EXPECT_TRUE(memo.is_absent(slot));
    EXPECT_EQ(process({99})[0].by.state, attachment::empty);
}

TEST_F(exchange, leaves_pins_alone) {
    const mp::slot_id slot = memo.find(2);
    memo.pin(slot);
    [[maybe_unused]] const handle before = memo.exchange(slot, another(2));
    EXPECT_EQ(memo.pins(slot), 1U);
    memo.set_bound(0);
    memo.trim();
    EXPECT_EQ(memo.find(2), slot);
    memo.unpin(slot);
    memo.trim();
    memo.reclaim();
    EXPECT_EQ(memo.size(), 0U);
}

TEST_F(exchange, during_a_fetch_does_not_change_what_the_running_chunk_attaches) {
    const handle old = memo.handle(memo.find(2));
    source.during_fetch = [&] { [[maybe_unused]] const handle before = memo.exchange(memo.find(2), another(2)); };
    const std::vector<book> books = process({2, 5});
    EXPECT_EQ(books[0].by.row, old);
    EXPECT_EQ(process({2})[0].by.row->name, "a copy");
    EXPECT_TRUE(memo.consistent());
}
