// The core takes no locks: a memo belongs to one thread, or its user guards it. Also for ThreadSanitizer.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <random>
#include <thread>

using namespace bookshop;

namespace {
std::vector<book> random_books(std::mt19937& random) {
    std::vector<book> books(50);
    for (book& one : books) {
        one.author_id = 1 + static_cast<id>(random() % 300);
    }
    return books;
}
void expect_attached(const std::vector<book>& books) {
    for (const book& one : books) {
        ASSERT_EQ(one.by.state, *one.author_id <= 250 ? attachment::row : attachment::empty);
        ASSERT_TRUE(!one.by.row || one.by.row->pk == *one.author_id);
    }
}

/// A source that releases the memo's lock while it waits for the database, as a thread releases Python's GIL.
struct waiting_source : row_source<author> {
    std::mutex& guard;
    explicit waiting_source(std::mutex& its_guard) : row_source(authors_numbered_to(250)), guard(its_guard) {}

    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        guard.unlock();
        std::this_thread::yield();
        guard.lock();
        row_source::fetch(asked, take);
    }
};

template <class Body>
void in_four_threads(Body&& body) {
    std::vector<std::thread> threads;
    for (unsigned seed = 1; seed <= 4; ++seed) {
        threads.emplace_back([&body, seed] {
            std::mt19937 random(seed);
            body(random);
        });
    }
    for (std::thread& one : threads) {
        one.join();
    }
}
} // namespace

TEST(threads, with_a_memo_each_share_nothing) {
    in_four_threads([](std::mt19937& random) {
        author_memo memo(100);
        row_source<author> source = authors_numbered_to(250);
        for (int chunk = 0; chunk < 100; ++chunk) {
            std::vector<book> books = random_books(random);
            attach_authors(memo, source, books);
            expect_attached(books);
        }
        EXPECT_LE(memo.size(), 100U);
    });
}

TEST(threads, that_guard_one_memo_may_overlap_within_their_queries) {
    author_memo memo(100);
    std::mutex guard;
    in_four_threads([&](std::mt19937& random) {
        waiting_source source(guard);
        for (int chunk = 0; chunk < 100; ++chunk) {
            std::vector<book> books = random_books(random);
            const std::lock_guard lock(guard);
            mp::counters count[2];
            mp::to_one_pass<author_memo> pass(memo);
            authors_of_books objects{books};
            const std::size_t number = pass.collect(objects);
            pass.resolve(source);
            pass.attach(number, objects);
            pass.commit(count);
            expect_attached(books);
        }
    });
    EXPECT_TRUE(memo.consistent());
    EXPECT_LE(memo.size(), 100U);
    for (const auto& one : support::contents(memo).newest_first) {
        EXPECT_EQ(one.pins, 0U);
    }
}
