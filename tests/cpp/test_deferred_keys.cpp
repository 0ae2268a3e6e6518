// Objects whose key was not loaded: all keys are loaded at once, and the objects are read again.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;

namespace {
std::size_t loads(std::vector<book>& books, author_memo& memo, row_source<author>& source) {
    authors_of_books objects{books};
    mp::to_one_pass<author_memo> pass(memo);
    const std::size_t number = collect(pass, objects);
    pass.resolve(source);
    pass.attach(number, objects);
    mp::counters count[2];
    pass.commit(count);
    EXPECT_EQ(count[0].requests, books.size()) << "each object asks once";
    return objects.deferred_queries;
}
} // namespace

TEST(deferred_keys, are_loaded_together) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2, 3, 1});
    books[0].author_id_deferred = books[2].author_id_deferred = true;
    books[0].translator_id = 2;
    EXPECT_EQ(loads(books, memo, source), 1U);
    EXPECT_EQ(books[0].by.row->pk, 1);
    EXPECT_EQ(books[0].translated_by.row->pk, 2);
    EXPECT_EQ(books[2].by.row->pk, 3);
    EXPECT_EQ(source.queries.size(), 1U);
    EXPECT_EQ(support::keys(memo), (std::vector<id>{1, 3, 2})) << "in the order of the objects all the same";
}

TEST(deferred_keys, are_not_loaded_when_there_are_none) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1, 2});
    EXPECT_EQ(loads(books, memo, source), 0U);
}

TEST(deferred_keys, of_attached_relations_are_not_loaded) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(3);
    std::vector<book> books = books_by({1});
    books[0].author_id_deferred = true;
    books[0].by = {attachment::empty, nullptr};
    authors_of_books objects{books};
    mp::to_one_pass<author_memo> pass(memo);
    collect(pass, objects);
    EXPECT_EQ(objects.deferred_queries, 0U);
}

TEST(deferred_keys, that_stay_deferred_are_an_error_and_not_a_loop) {
    struct forgetful {
        [[nodiscard]] static std::size_t size() { return 1; }
        [[nodiscard]] static std::size_t width() { return 1; }
        static void read(std::size_t, std::span<mp::key_reading<id>> keys) { keys[0].state = mp::key_state::deferred; }
        static void load_deferred(std::span<const std::size_t>) {}
    } objects;
    author_memo memo;
    mp::to_one_pass<author_memo> pass(memo);
    EXPECT_THROW(collect(pass, objects), std::logic_error);
}

TEST(deferred_keys, are_an_error_for_a_caller_that_cannot_load_them) {
    author_memo memo;
    std::vector<book> books = books_by({1});
    books[0].author_id_deferred = true;
    authors_of_books objects{books};
    mp::to_one_pass<author_memo> pass(memo);
    EXPECT_THROW(pass.collect(objects), std::logic_error);
}
