// Relations to one table share a pass: one query for all of them, but separate counters.
#include "support/bookshop.hpp"
#include "support/table_contents.hpp"

#include <gtest/gtest.h>

using namespace bookshop;
using queries = std::vector<std::vector<id>>;

namespace {
struct magazine {
    id editor_id = 0;
    std::shared_ptr<const author> editor;
};
struct editors_of_magazines {
    std::vector<magazine>& magazines;
    [[nodiscard]] std::size_t size() const { return magazines.size(); }
    [[nodiscard]] static std::size_t width() { return 1; }
    void read(std::size_t i, std::span<mp::key_reading<id>> keys) const {
        keys[0] = {mp::key_state::present, magazines[i].editor_id};
    }
    void attach(std::size_t i, std::span<const std::shared_ptr<const author>* const> rows) const {
        magazines[i].editor = *rows[0];
    }
};
} // namespace

TEST(several_relations, of_one_object_share_the_query) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> books = books_by({1, 2});
    books[0].translator_id = 2;
    books[1].translator_id = 5;
    mp::counters count[2];
    attach_authors(memo, source, books, count);
    EXPECT_EQ(source.queries, (queries{{1, 2, 5}}));
    EXPECT_EQ(books[0].translated_by.row, books[1].by.row) << "one row, one instance";
    EXPECT_EQ(count[0].requests, 2U);
    EXPECT_EQ(count[0].misses, 1U);
    EXPECT_EQ(count[1].requests, 2U);
    EXPECT_EQ(count[1].misses, 2U) << "2 was first asked for by a translator";
    EXPECT_EQ(count[0].fetched + count[1].fetched, 3U);
}

TEST(several_relations, of_several_kinds_of_objects_share_the_query) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(9);
    std::vector<book> books = books_by({1, 2, 9});
    std::vector<magazine> magazines{{7, {}}, {2, {}}};
    authors_of_books of_books{books};
    editors_of_magazines of_magazines{magazines};

    mp::to_one_pass<author_memo> pass(memo);
    const std::size_t first = pass.collect(of_books);
    const std::size_t second = pass.collect(of_magazines);
    EXPECT_EQ(pass.relations(), 3U);
    pass.resolve(source);
    pass.attach(second, of_magazines);
    pass.attach(first, of_books);
    mp::counters count[3];
    pass.commit(count);

    EXPECT_EQ(source.queries, (queries{{1, 2, 9, 7}}));
    EXPECT_EQ(magazines[0].editor->pk, 7);
    EXPECT_EQ(magazines[1].editor, books[1].by.row);
    EXPECT_EQ(count[0].requests, 3U);
    EXPECT_EQ(count[1].requests, 0U);
    EXPECT_EQ(count[2].requests, 2U);
    EXPECT_EQ(count[2].misses, 1U);
    EXPECT_EQ(support::keys(memo), (std::vector<id>{2, 7, 9, 1})) << "last use, in the order of collection";
}

TEST(several_relations, leave_alone_the_one_that_is_attached) {
    author_memo memo;
    row_source<author> source = authors_numbered_to(5);
    std::vector<book> books = books_by({1});
    books[0].translator_id = 2;
    books[0].by = {attachment::empty, nullptr};
    attach_authors(memo, source, books);
    EXPECT_EQ(source.queries, (queries{{2}}));
    EXPECT_EQ(books[0].by.state, attachment::empty);
    EXPECT_EQ(books[0].translated_by.row->pk, 2);
}
