/// What every adapter does, on a real database. `Database`: see test_sqlite.cpp and test_postgresql.cpp.
///
///   exec(sql)                           runs statements
///   create, uuid_type                   "create table" and the type of a UUID column
///   fetch(sql, map), links<S, T>(sql), pages(sql, key, map, key_of, size)
///   row, error                          the adapter's
///   in_keys, wrong_conditions           "in (select value from json_each(?))" or "= any($1)", and wrong alternatives
///   statements()                        how many statements are prepared
#pragma once

#include <memoized_prefetch/memoized_prefetch.hpp>
#include <memoized_prefetch/sql/uuid.hpp>

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace adapters {

namespace mp = memoized_prefetch;
using id = std::int64_t;

struct author {
    id pk = 0;
    std::string name = {};
};
struct category {
    std::string code = {};
    double weight = 0;
    std::optional<int> parent = {};
    bool open = false;
};
struct publisher {
    mp::uuid pk = {};
    std::string name = {};
};
struct book {
    id pk = 0;
    std::optional<id> author_id = {};
    mp::uuid publisher_id = {};
    std::shared_ptr<const adapters::author> author = {};
    std::shared_ptr<const adapters::publisher> publisher = {};
    std::vector<std::shared_ptr<const category>> categories = {};
};

// Texts that a list of texts might split or quote wrongly.
inline const std::vector<std::string> codes{
    "",  "a",    "A",    "a b", "a,b",  "{a}", "[a]", "\"",       "\\",        "\\\"",
    "'", "null", "NULL", "1",   "a\nb", "\t",  "$1",  "\x01\x1f", "Ж\u00e4中", "\xf0\x9f\x93\x9a",
};
inline const mp::uuid some_uuid = *mp::uuid::parse("6f1c1a0e-8a2b-4c3d-9e4f-001122334455");
inline const mp::uuid other_uuid = *mp::uuid::parse("FFFFFFFF-0000-4000-8000-000000000000");

inline std::string quoted(std::string text) {
    for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2) {
        text.insert(at, 1, '\'');
    }
    return "'" + text + "'";
}

template <class Database>
class adapter : public testing::Test {
protected:
    using row = typename Database::row;

    adapter() {
        const std::string create = Database::create;
        const std::string uuid = Database::uuid_type;
        db.exec(create + " author (id bigint primary key, name text not null)");
        db.exec(create + " category (code text primary key, weight double precision, parent int, open boolean)");
        db.exec(create + " publisher (id " + uuid + " primary key, name text)");
        db.exec(create + " book (id bigint primary key, author_id bigint, publisher_id " + uuid + ")");
        db.exec(create + " book_category (book_id bigint, code text, position int)");
        db.exec("insert into author values (1, 'Woolf'), (2, 'Joyce'), (-3, 'Svevo'), (9223372036854775807, 'Last')");
        const std::string hogarth = quoted(some_uuid.text());
        const std::string other = quoted(other_uuid.text());
        db.exec("insert into publisher values (" + hogarth + ", 'Hogarth'), (" + other + ", 'Other')");
        db.exec("insert into book values (100, 1, " + hogarth + "), (200, null, " + other +
                "), "
                "(300, -3, '00000000-0000-0000-0000-000000000000')");
        db.exec("insert into book_category values (100, 'a', 2), (100, '\"', 1), (100, 'a', 3), (300, 'none such', 1)");
        for (std::size_t at = 0; at < codes.size(); ++at) {
            const std::string number = std::to_string(at);
            db.exec("insert into category values (" + quoted(codes[at]) + ", " + number + ".5, " +
                    (at == 0 ? "null" : number) + ", " + (at % 2 == 0 ? "true" : "false") + ")");
        }
    }

    static author author_of(const row& from) { return {from.template get<id>(0), from.template get<std::string>(1)}; }
    static category category_of(const row& from) {
        return {from.template get<std::string>(0), from.template get<double>(1),
                from.template get<std::optional<int>>(2), from.template get<bool>(3)};
    }
    static publisher publisher_of(const row& from) {
        return {from.template get<mp::uuid>(0), from.template get<std::string>(1)};
    }
    static book book_of(const row& from) {
        return {from.template get<id>(0), from.template get<std::optional<id>>(1), from.template get<mp::uuid>(2)};
    }
    auto fetch_authors() { return db.fetch("select id, name from author where id " + in_keys, author_of); }
    auto fetch_categories() {
        return db.fetch("select code, weight, parent, open from category where code " + in_keys, category_of);
    }
    auto fetch_publishers() { return db.fetch("select id, name from publisher where id " + in_keys, publisher_of); }
    static std::string message_of(auto&& function) {
        try {
            function();
        } catch (const typename Database::error& error) {
            return error.what();
        }
        return "nothing was thrown";
    }
    static void expect_parts(const std::string& text, std::initializer_list<const char*> parts) {
        for (const char* const part : parts) {
            EXPECT_NE(std::string::npos, text.find(part)) << part << " is not in: " << text;
        }
    }

    Database db;
    const std::string in_keys = Database::in_keys;
};
TYPED_TEST_SUITE_P(adapter);

TYPED_TEST_P(adapter, fetches_rows_by_integers) {
    mp::memo authors{&author::pk, this->fetch_authors()};
    const auto rows = authors.resolve(std::vector<id>{2, 7, -3, 2, std::numeric_limits<id>::max()});
    EXPECT_EQ("Joyce", rows[0]->name);
    EXPECT_EQ(nullptr, rows[1]);
    EXPECT_EQ("Svevo", rows[2]->name);
    EXPECT_EQ(rows[0], rows[3]);
    EXPECT_EQ("Last", rows[4]->name);
}

TYPED_TEST_P(adapter, fetches_rows_by_any_text) {
    mp::memo categories{&category::code, this->fetch_categories()};
    std::vector<std::string> keys = codes;
    keys.emplace_back("none such");
    const auto rows = categories.resolve(keys);
    for (std::size_t at = 0; at < codes.size(); ++at) {
        ASSERT_NE(nullptr, rows[at]) << codes[at];
        EXPECT_EQ(codes[at], rows[at]->code);
        EXPECT_EQ(static_cast<double>(at) + 0.5, rows[at]->weight);
        EXPECT_EQ(at == 0 ? std::nullopt : std::optional(static_cast<int>(at)), rows[at]->parent);
        EXPECT_EQ(at % 2 == 0, rows[at]->open);
    }
    EXPECT_EQ(nullptr, rows[codes.size()]);
}

TYPED_TEST_P(adapter, refuses_text_with_a_nul_which_would_be_cut_off) {
    mp::memo categories{&category::code, this->fetch_categories()};
    EXPECT_THROW(static_cast<void>(categories.resolve(std::vector<std::string>{std::string("a\0b", 3)})),
                 std::logic_error);
}

TYPED_TEST_P(adapter, fetches_rows_by_uuids) {
    mp::memo publishers{&publisher::pk, this->fetch_publishers()};
    const auto rows = publishers.resolve(std::vector<mp::uuid>{other_uuid, mp::uuid{}, some_uuid});
    EXPECT_EQ("Other", rows[0]->name);
    EXPECT_EQ(nullptr, rows[1]);
    EXPECT_EQ("Hogarth", rows[2]->name);
}

TYPED_TEST_P(adapter, sends_any_number_of_keys_at_once) {
    mp::memo authors{&author::pk, this->fetch_authors()};
    std::vector<id> keys(100'000);
    std::iota(keys.begin(), keys.end(), -50'000);
    const auto rows = authors.resolve(keys);
    EXPECT_EQ("Woolf", rows[50'001]->name);
    EXPECT_EQ(1U, authors.stats().queries);
}

TYPED_TEST_P(adapter, fetches_links_in_their_order) {
    mp::memo categories{&category::code, this->fetch_categories()};
    mp::links book_categories{
        this->db.template links<id, std::string>("select book_id, code from book_category where book_id " +
                                                 this->in_keys + " order by book_id, position"),
        categories};
    mp::prefetcher<book> books{mp::to_many(book_categories, &book::pk, &book::categories)};
    std::vector<book> chunk{{100}, {200}, {300}};
    books.process_chunk(chunk);
    ASSERT_EQ(3U, chunk[0].categories.size());
    EXPECT_EQ("\"", chunk[0].categories[0]->code);
    EXPECT_EQ("a", chunk[0].categories[1]->code);
    EXPECT_EQ(chunk[0].categories[1], chunk[0].categories[2]);
    EXPECT_TRUE(chunk[1].categories.empty());
    EXPECT_TRUE(chunk[2].categories.empty());
}

TYPED_TEST_P(adapter, streams_and_prefetches_on_one_connection) {
    mp::memo authors{&author::pk, this->fetch_authors()};
    mp::memo publishers{&publisher::pk, this->fetch_publishers()};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author),
                               mp::to_one(publishers, &book::publisher_id, &book::publisher)};
    std::string names;
    for (std::vector<book>& page :
         this->db.pages("select id, author_id, publisher_id from book", "id", this->book_of, &book::pk, 2U)) {
        books.process_chunk(page);
        for (const book& one : page) {
            names += (one.author ? one.author->name : "-") + " " + (one.publisher ? one.publisher->name : "-") + "; ";
        }
    }
    EXPECT_EQ("Woolf Hogarth; - Other; Svevo -; ", names);
}

TYPED_TEST_P(adapter, prepares_a_statement_once_and_takes_it_away) {
    EXPECT_EQ(0, this->db.statements());
    {
        mp::memo authors{&author::pk, this->fetch_authors()};
        for (id key = 0; key < 5; ++key) {
            EXPECT_EQ(1U, authors.resolve(std::vector<id>{key}).size());
            EXPECT_EQ(1, this->db.statements());
        }
        EXPECT_EQ(5U, authors.stats().queries);
    }
    EXPECT_EQ(0, this->db.statements());
}

TYPED_TEST_P(adapter, says_at_once_that_a_statement_is_wrong) {
    const std::string sql = "select id, nome from author where id " + this->in_keys;
    this->expect_parts(this->message_of([&] { static_cast<void>(this->db.fetch(sql, this->author_of)); }),
                       {"nome", sql.c_str()});
    EXPECT_EQ(0, this->db.statements());
}

TYPED_TEST_P(adapter, refuses_statements_that_would_compare_a_key_with_the_whole_list) {
    for (const char* const condition : this->db.wrong_conditions) {
        const std::string sql = std::string("select code from category where code ") + condition;
        this->expect_parts(this->message_of([&] { static_cast<void>(this->db.fetch(sql, this->category_of)); }),
                           {"write ", this->in_keys.c_str(), sql.c_str()});
    }
    EXPECT_EQ(0, this->db.statements());
}

TYPED_TEST_P(adapter, errors_name_the_statement_and_the_number_of_keys_and_change_nothing) {
    mp::memo authors{&author::pk, this->fetch_authors()};
    EXPECT_EQ("Woolf", authors.resolve(std::vector<id>{1})[0]->name);
    this->db.exec("alter table author rename to writer");
    const std::string text = this->message_of([&] { static_cast<void>(authors.resolve(std::vector<id>{1, 2, 3})); });
    this->expect_parts(text, {"author", "; in: select id, name from author where id ", "; with 2 keys"});
    this->db.exec("alter table writer rename to author");
    EXPECT_EQ("Joyce", authors.resolve(std::vector<id>{1, 2})[1]->name);
    EXPECT_EQ(2U, authors.stats().size);
}

TYPED_TEST_P(adapter, values_that_do_not_fit_are_errors_that_name_the_column) {
    using row_type = typename TypeParam::row;
    const std::string sql = "select id, author_id from book where id " + this->in_keys;
    auto null_key = this->db.fetch(sql, [](const row_type& from) { return from.template get<id>(1); });
    EXPECT_EQ(std::vector<id>{1}, null_key(std::span<const id>(std::array<id, 1>{100})));
    this->expect_parts(this->message_of([&] {
        static_cast<void>(null_key(std::span<const id>(std::array<id, 2>{100, 200})));
    }),
                       {"author_id is null", sql.c_str(), "; with 2 keys"});
    auto narrow = this->db.fetch("select id from author where id " + this->in_keys,
                                 [](const row_type& from) { return from.template get<std::int8_t>(0); });
    EXPECT_EQ(std::vector<std::int8_t>{-3}, narrow(std::span<const id>(std::array<id, 1>{-3})));
    this->expect_parts(this->message_of([&] {
        static_cast<void>(narrow(std::span<const id>(std::array<id, 1>{std::numeric_limits<id>::max()})));
    }),
                       {"id is ", "; with 1 key"});
    auto no_uuid = this->db.fetch("select id, name from author where id " + this->in_keys,
                                  [](const row_type& from) { return from.template get<mp::uuid>(1); });
    this->expect_parts(this->message_of([&] { static_cast<void>(no_uuid(std::span<const id>(std::array<id, 1>{1}))); }),
                       {"name is not a UUID"});
}

TYPED_TEST_P(adapter, what_a_mapper_throws_leaves_statement_and_memo_as_they_were) {
    using row_type = typename TypeParam::row;
    bool fails = true;
    mp::memo authors{&author::pk,
                     this->db.fetch("select id, name from author where id " + this->in_keys, [&](const row_type& from) {
                         if (fails) {
                             throw std::out_of_range("mapper");
                         }
                         return author{from.template get<id>(0), from.template get<std::string>(1)};
                     })};
    EXPECT_THROW(static_cast<void>(authors.resolve(std::vector<id>{1, 2})), std::out_of_range);
    EXPECT_EQ(0U, authors.stats().size);
    this->db.exec("update author set name = 'Other' where id = 1"); // nothing is held open
    fails = false;
    EXPECT_EQ("Other", authors.resolve(std::vector<id>{1, 2})[0]->name);
}

TYPED_TEST_P(adapter, pages_hold_every_row_once_in_the_order_of_the_key) {
    this->db.exec("delete from author");
    for (id key = -4; key < 6; ++key) { // ten rows
        this->db.exec("insert into author values (" + std::to_string(key * 1'000) + ", 'x')");
    }
    for (const std::size_t size : {1U, 3U, 5U, 10U, 100U}) {
        auto pages = this->db.pages("select id, name from author", "id", this->author_of, &author::pk, size);
        for (int times = 0; times < 2; ++times) { // begin() starts again
            std::vector<id> keys;
            for (std::vector<author>& page : pages) {
                EXPECT_TRUE(page.size() == size || keys.size() + page.size() == 10) << page.size();
                for (const author& one : std::vector<author>(std::move(page))) { // may be moved from
                    keys.push_back(one.pk);
                }
            }
            EXPECT_EQ((std::vector<id>{-4'000, -3'000, -2'000, -1'000, 0, 1'000, 2'000, 3'000, 4'000, 5'000}), keys);
        }
    }
    this->db.exec("delete from author");
    for (auto& page : this->db.pages("select id, name from author", "id", this->author_of, &author::pk)) {
        ADD_FAILURE() << "an empty table has a page of " << page.size();
    }
}

TYPED_TEST_P(adapter, pages_go_by_text_and_by_uuids) {
    std::set<std::string> texts;
    for (auto& page : this->db.pages("select code, weight, parent, open from category", "code", this->category_of,
                                     &category::code, 3U)) {
        for (const category& one : page) {
            EXPECT_TRUE(texts.insert(one.code).second);
        }
    }
    EXPECT_EQ(std::set<std::string>(codes.begin(), codes.end()), texts);
    std::vector<mp::uuid> uuids;
    for (auto& page : this->db.pages("select id, name from publisher", "id", this->publisher_of, &publisher::pk, 1U)) {
        uuids.push_back(page.at(0).pk);
    }
    EXPECT_EQ((std::vector<mp::uuid>{some_uuid, other_uuid}), uuids);
}

TYPED_TEST_P(adapter, pages_go_on_behind_the_key_of_a_run_that_was_stopped) {
    auto pages = this->db.pages("select id, name from author", "id", this->author_of, &author::pk, 2U, 1);
    for (int times = 0; times < 2; ++times) {
        std::vector<id> keys;
        for (auto& page : pages) {
            for (const author& one : page) {
                keys.push_back(one.pk);
            }
        }
        EXPECT_EQ((std::vector<id>{2, std::numeric_limits<id>::max()}), keys);
    }
}

TYPED_TEST_P(adapter, rows_that_come_and_go_between_pages_do_not_disturb_them) {
    std::vector<id> keys;
    for (auto& page : this->db.pages("select id, name from author", "id", this->author_of, &author::pk, 1U)) {
        keys.push_back(page.at(0).pk);
        if (keys.size() == 1) {
            this->db.exec("insert into author values (-9, 'before'), (5, 'behind'); delete from author where id = 1");
        }
    }
    EXPECT_EQ((std::vector<id>{-3, 2, 5, std::numeric_limits<id>::max()}), keys);
}

REGISTER_TYPED_TEST_SUITE_P(
    adapter, fetches_rows_by_integers, fetches_rows_by_any_text, refuses_text_with_a_nul_which_would_be_cut_off,
    fetches_rows_by_uuids, sends_any_number_of_keys_at_once, fetches_links_in_their_order,
    streams_and_prefetches_on_one_connection, prepares_a_statement_once_and_takes_it_away,
    says_at_once_that_a_statement_is_wrong, refuses_statements_that_would_compare_a_key_with_the_whole_list,
    errors_name_the_statement_and_the_number_of_keys_and_change_nothing,
    values_that_do_not_fit_are_errors_that_name_the_column, what_a_mapper_throws_leaves_statement_and_memo_as_they_were,
    pages_hold_every_row_once_in_the_order_of_the_key, pages_go_by_text_and_by_uuids,
    pages_go_on_behind_the_key_of_a_run_that_was_stopped, rows_that_come_and_go_between_pages_do_not_disturb_them);

} // namespace adapters
