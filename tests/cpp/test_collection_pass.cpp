// Rows that refer to their object: attached in the order in which they were read, to the objects whose key they hold.
#include "support/bombing_allocator.hpp"
#include "support/tripwire.hpp"
#include "support/watched_traits.hpp"

#include <gtest/gtest.h>
#include <memoized_prefetch/passes/collection_pass.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace mp = memoized_prefetch;
using support::user_calls;
using number = std::int64_t;
using queries = std::vector<std::vector<number>>;

namespace {
struct book {
    number pk = 0;
    std::optional<number> author_id;
};
using handle = std::shared_ptr<const book>;

struct author {
    std::optional<number> pk;
    bool deferred = false;
    bool attached = false; // before
    std::optional<std::vector<number>> books;
    bool last = false;
};

/// Object model: authors and the books that refer to them.
struct books_of_authors {
    std::vector<author>& authors;
    std::vector<std::vector<std::size_t>> loaded;

    [[nodiscard]] std::size_t size() const { return authors.size(); }
    void read(std::size_t i, std::span<mp::key_reading<number>> keys) const {
        user_calls::step();
        const author& one = authors[i];
        keys[0] = one.attached   ? mp::key_reading<number>{mp::key_state::attached, 0}
                  : one.deferred ? mp::key_reading<number>{mp::key_state::deferred, 0}
                  : one.pk       ? mp::key_reading<number>{mp::key_state::present, *one.pk}
                                 : mp::key_reading<number>{mp::key_state::null, 0};
    }
    template <class Numbers>
    void load_deferred(const Numbers& objects) {
        loaded.emplace_back(objects.begin(), objects.end());
        for (const std::size_t i : objects) {
            authors[i].deferred = false;
        }
    }
    void attach(std::size_t i, std::span<const handle* const> rows, bool last) const {
        user_calls::step();
        author& one = authors[i];
        one.books.emplace();
        for (const handle* row : rows) {
            one.books->push_back((*row)->pk);
        }
        one.last = last;
    }
};

/// The table of books. It answers any query with all of `books`, in its own order.
struct book_source {
    std::vector<handle> books;
    std::vector<std::vector<number>> asked;
    std::function<void()> during_fetch;

    void add(number pk, std::optional<number> author_id) {
        books.push_back(std::make_shared<const book>(book{pk, author_id}));
    }
    template <class Asked, class Take>
    void fetch(const Asked& keys, Take&& take) {
        user_calls::step();
        asked.emplace_back(keys.begin(), keys.end());
        if (during_fetch) {
            std::exchange(during_fetch, nullptr)();
        }
        for (const handle& row : books) {
            user_calls::step();
            take(row);
        }
    }
    static std::optional<number> key_of(const handle& row) {
        user_calls::step();
        return row->author_id;
    }
};

/// Collects the keys of the objects, and loads those that are deferred.
template <class Pass>
void collect(Pass& pass, books_of_authors& objects) {
    typename Pass::template vector_of<std::size_t> deferred;
    pass.collect(objects, &deferred);
    if (!deferred.empty()) {
        objects.load_deferred(deferred);
        pass.collect_loaded(objects, deferred);
    }
}

template <class Traits = mp::key_traits<number>, class Allocator = std::allocator<std::byte>>
void process(std::vector<author>& authors, book_source& source, mp::counters& count) {
    mp::collection_pass<number, handle, Traits, Allocator> pass;
    books_of_authors objects{authors, {}};
    collect(pass, objects);
    pass.resolve(source);
    pass.attach(objects);
    pass.commit(count);
}

struct collection_pass : ::testing::Test {
    book_source source;
    mp::counters count;

    std::vector<author> with(std::initializer_list<number> keys) {
        std::vector<author> authors;
        for (const number key : keys) {
            authors.push_back({key, false, false, {}, false});
        }
        process(authors, source, count);
        return authors;
    }
    static std::vector<number> of(const author& one) { return one.books.value(); }
};
} // namespace

TEST_F(collection_pass, attaches_in_the_order_of_the_rows_with_one_query) {
    // The books of different authors are interleaved.
    source.add(30, 2);
    source.add(10, 1);
    source.add(31, 2);
    source.add(9, 1);
    source.add(29, 2);
    const std::vector<author> authors = with({1, 3, 2});
    EXPECT_EQ(of(authors[0]), (std::vector<number>{10, 9}));
    EXPECT_EQ(of(authors[1]), std::vector<number>{}) << "an object without rows has an empty range attached";
    EXPECT_EQ(of(authors[2]), (std::vector<number>{30, 31, 29}));
    EXPECT_EQ(source.asked, (queries{{1, 3, 2}}));
    EXPECT_EQ(count.requests, 3U);
    EXPECT_EQ(count.hits, 0U);
    EXPECT_EQ(count.misses, 3U);
    EXPECT_EQ(count.fetched, 2U);
    EXPECT_EQ(count.missing, 1U);
}

TEST_F(collection_pass, keeps_rows_that_come_twice) {
    source.add(7, 1);
    source.books.push_back(source.books[0]);
    EXPECT_EQ(of(with({1})[0]), (std::vector<number>{7, 7}));
}

TEST_F(collection_pass, gives_equal_keys_the_same_rows_and_names_the_last_of_them) {
    source.add(10, 1);
    source.add(20, 2);
    const std::vector<author> authors = with({1, 2, 1, 1, 3});
    EXPECT_EQ(source.asked, (queries{{1, 2, 3}}));
    for (const std::size_t at : {0U, 2U, 3U}) {
        EXPECT_EQ(of(authors[at]), std::vector<number>{10});
        EXPECT_EQ(authors[at].last, at == 3U) << at;
    }
    EXPECT_TRUE(authors[1].last);
    EXPECT_TRUE(authors[4].last);
    EXPECT_EQ(count.requests, 5U);
    EXPECT_EQ(count.misses, 3U);
}

TEST_F(collection_pass, leaves_out_rows_that_were_not_asked_for_or_refer_to_nothing) {
    source.add(10, 1);
    source.add(11, 77);
    source.add(12, std::nullopt);
    source.add(13, 1);
    const std::vector<author> authors = with({1, 2});
    EXPECT_EQ(of(authors[0]), (std::vector<number>{10, 13}));
    EXPECT_TRUE(of(authors[1]).empty());
    EXPECT_EQ(count.fetched, 1U);
}

TEST_F(collection_pass, reads_null_deferred_and_attached_objects) {
    source.add(10, 1);
    source.add(20, 2);
    source.add(30, 3);
    std::vector<author> authors = {{1, false, false, {}, false},
                                   {std::nullopt, false, false, {}, false},
                                   {2, true, false, {}, false},
                                   {3, false, true, {}, false},
                                   {std::nullopt, true, false, {}, false}};
    mp::collection_pass<number, handle> pass;
    books_of_authors objects{authors, {}};
    collect(pass, objects);
    pass.resolve(source);
    pass.attach(objects);
    pass.commit(count);
    EXPECT_EQ(objects.loaded, (std::vector<std::vector<std::size_t>>{{2, 4}})) << "one query for all of them";
    EXPECT_EQ(source.asked, (queries{{1, 2}}));
    EXPECT_EQ(of(authors[0]), std::vector<number>{10});
    EXPECT_TRUE(of(authors[1]).empty());
    EXPECT_EQ(of(authors[2]), std::vector<number>{20});
    EXPECT_FALSE(authors[3].books.has_value()) << "what was attached before is left alone";
    EXPECT_TRUE(of(authors[4]).empty());
    EXPECT_FALSE(authors[1].last || authors[4].last) << "nothing refers to what has no key";
    EXPECT_EQ(count.requests, 2U);
}

TEST_F(collection_pass, asks_for_nothing_when_no_object_has_a_key) {
    std::vector<author> authors(2);
    process(authors, source, count);
    EXPECT_TRUE(source.asked.empty());
    EXPECT_TRUE(of(authors[0]).empty());
    std::vector<author> none;
    process(none, source, count);
    EXPECT_TRUE(source.asked.empty());
    EXPECT_EQ(count.requests + count.misses, 0U);
}

TEST_F(collection_pass, may_run_within_the_query_of_another) {
    source.add(10, 1);
    source.add(20, 2);
    std::vector<author> inner;
    source.during_fetch = [&] { inner = with({2, 1}); };
    const std::vector<author> outer = with({1, 3});
    EXPECT_EQ(of(inner[0]), std::vector<number>{20});
    EXPECT_EQ(of(inner[1]), std::vector<number>{10});
    EXPECT_EQ(of(outer[0]), std::vector<number>{10});
    EXPECT_TRUE(of(outer[1]).empty());
    EXPECT_EQ(count.requests, 4U);
}

TEST_F(collection_pass, counts_nothing_and_keeps_no_row_when_any_call_throws) {
    using traits = support::watched_traits<number>;
    traits::collide = true; // so that every search compares
    source.add(10, 1);
    source.add(20, 2);
    source.add(11, 1);
    source.add(40, 4);
    std::uint64_t failures = 0;
    std::vector<author> authors;
    for (std::uint64_t nth = 1;; ++nth) {
        authors = {{1, false, false, {}, false}, {2, true, false, {}, false}, {3, false, false, {}, false}};
        try {
            const user_calls::armed call(nth);
            process<traits>(authors, source, count);
            break;
        } catch (const support::broken_call&) {
            ++failures;
            ASSERT_EQ(count.requests + count.misses + count.fetched + count.missing, 0U) << "call " << nth;
            for (const handle& row : source.books) {
                ASSERT_EQ(row.use_count(), 1) << "call " << nth;
            }
        }
    }
    traits::collide = false;
    EXPECT_GT(failures, 20U) << "without a failure the test is vacuous";
    EXPECT_EQ(of(authors[0]), (std::vector<number>{10, 11}));
    EXPECT_EQ(of(authors[1]), std::vector<number>{20});
    EXPECT_EQ(count.requests, 3U);
}

TEST_F(collection_pass, survives_the_failure_of_each_allocation) {
    using support::allocations;
    for (number pk = 0; pk < 300; ++pk) {
        source.add(pk, pk % 90);
    }
    std::uint64_t failures = 0;
    std::vector<author> authors;
    for (std::uint64_t nth = 1;; ++nth) {
        authors.clear();
        for (number key = 0; key < 60; ++key) {
            authors.push_back({key % 40, key % 7 == 0, false, {}, false});
        }
        try {
            const allocations::armed bomb(nth);
            process<mp::key_traits<number>, support::bombing_allocator<std::byte>>(authors, source, count);
            break;
        } catch (const std::bad_alloc&) {
            ++failures;
            ASSERT_EQ(count.requests + count.misses, 0U) << "allocation " << nth;
            for (const handle& row : source.books) {
                ASSERT_EQ(row.use_count(), 1) << "allocation " << nth;
            }
        }
    }
    EXPECT_GT(failures, 8U) << "without a failure the test is vacuous";
    for (const author& one : authors) {
        std::vector<number> expected;
        for (const handle& row : source.books) {
            if (row->author_id == one.pk) {
                expected.push_back(row->pk);
            }
        }
        EXPECT_EQ(of(one), expected);
    }
    EXPECT_EQ(count.fetched, 40U);
}
