#include "support/shop.hpp"

#include <gtest/gtest.h>

#include <array>
#include <list>

using namespace shop;
using ids = std::vector<id>;
using queries = std::vector<ids>;

namespace {
ids pks(const std::vector<std::shared_ptr<const category>>& rows) {
    ids result;
    for (const auto& row : rows) {
        result.push_back(row->pk);
    }
    return result;
}
} // namespace

TEST(prefetcher, to_one_attaches_the_row_of_each_key_and_shares_it) {
    bookshop shop;
    std::vector<book> chunk{{100, 1, 2}, {200, 2, {}}, {300, 4, 1}};
    shop.books.process_chunk(chunk);
    EXPECT_EQ("Woolf", chunk[0].author->name);
    EXPECT_EQ("Joyce", chunk[0].translator->name);
    EXPECT_EQ(chunk[0].translator, chunk[1].author);
    EXPECT_EQ(nullptr, chunk[1].translator); // no key
    EXPECT_EQ(nullptr, chunk[2].author);     // no such row
    EXPECT_EQ(chunk[0].author, chunk[2].translator);
}

TEST(prefetcher, relations_to_one_memo_share_a_fetch_and_what_is_known_is_not_asked_for) {
    bookshop shop;
    std::vector<book> chunk{{100, 1, 2}, {200, 2, {}}};
    shop.books.process_chunk(chunk);
    EXPECT_EQ((queries{{1, 2}}), shop.author_rows.queries);
    std::vector<book> next{{300, 4, 1}, {400, 2, 3}};
    shop.books.process_chunk(next);
    EXPECT_EQ((queries{{1, 2}, {4, 3}}), shop.author_rows.queries);
    std::vector<book> last{{500, 4, 3}};
    shop.books.process_chunk(last);
    EXPECT_EQ(2U, shop.author_rows.queries.size()) << "the absence of 4 was not remembered";
}

TEST(prefetcher, to_many_attaches_in_the_order_and_with_the_duplicates_of_the_links) {
    bookshop shop;
    std::vector<book> chunk{{100, 1}, {200, 1}, {300, 1}};
    chunk[1].categories.resize(3);
    shop.books.process_chunk(chunk);
    EXPECT_EQ((ids{20, 10, 20}), pks(chunk[0].categories));
    EXPECT_EQ((ids{}), pks(chunk[1].categories)) << "what was there before is replaced";
    EXPECT_EQ((ids{}), pks(chunk[2].categories)) << "a link to a row that there is not";
    EXPECT_EQ((queries{{100, 200, 300}}), shop.category_links.queries);
    std::vector<book> again{{200, 1}, {100, 1}};
    shop.books.process_chunk(again);
    EXPECT_EQ(1U, shop.category_links.queries.size());
    EXPECT_EQ(1U, shop.category_rows.queries.size());
    EXPECT_EQ(chunk[0].categories, again[1].categories);
}

TEST(prefetcher, fetched_rows_of_a_memo_pass_through_its_prefetcher_once) {
    bookshop shop;
    std::vector<review> chunk{{1, 100}, {2, 300}, {3, 100}, {4, 999}};
    shop.reviews.process_chunk(chunk);
    EXPECT_EQ("Woolf", chunk[0].book->author->name);
    EXPECT_EQ((ids{20, 10, 20}), pks(chunk[0].book->categories));
    EXPECT_EQ("Svevo", chunk[1].book->translator->name);
    EXPECT_EQ(chunk[0].book, chunk[2].book);
    EXPECT_EQ(nullptr, chunk[3].book);
    EXPECT_EQ((queries{{4, 1, 3, 2}}), shop.author_rows.queries) << "the rows of books, in the order of the answer";
    std::vector<review> again{{5, 300}};
    shop.reviews.process_chunk(again);
    EXPECT_EQ(1U, shop.author_rows.queries.size());
}

TEST(prefetcher, rows_that_were_not_asked_for_are_dropped_before_anything_is_fetched_for_them) {
    table<author> authors_table{{1, "Woolf"}};
    mp::memo authors{&author::pk, authors_table.fetch()};
    mp::prefetcher<book> books{mp::to_one(authors, &book::author_id, &book::author)};
    mp::memo memo{&book::pk,
                  [](std::span<const id> keys) {
                      return std::vector<book>{{777, 7}, {keys[0], 1, 5}, {keys[0], 8}};
                  },
                  {},
                  books};
    const auto rows = memo.resolve(ids{100});
    EXPECT_EQ(5, rows[0]->translator_id) << "of two rows with one key the first is taken";
    EXPECT_EQ((queries{{1}}), authors_table.queries);
    EXPECT_EQ(1U, memo.stats().size);
}

TEST(prefetcher, takes_spans_lists_pointers_and_smart_pointers) {
    bookshop shop;
    std::array<book, 2> array{{{1, 1}, {2, 2}}};
    shop.books.process_chunk(std::span<book>(array));
    EXPECT_EQ("Joyce", array[1].author->name);
    std::list<book> list{{1, 2}};
    shop.books.process_chunk(list);
    EXPECT_EQ("Joyce", list.front().author->name);
    book one{1, 3};
    std::vector<book*> pointers{&one};
    shop.books.process_chunk(pointers);
    EXPECT_EQ("Svevo", one.author->name);
    std::vector<std::unique_ptr<book>> owners;
    owners.push_back(std::make_unique<book>(book{1, 1}));
    shop.books.process_chunk(owners);
    EXPECT_EQ("Woolf", owners[0]->author->name);
    shop.books.process_chunk(std::span<book>{});
}

namespace {
class order { // an existing type with private members, getters and setters
public:
    explicit order(std::string customer) : m_customer(std::move(customer)) {}
    [[nodiscard]] const std::string& customer() const noexcept { return m_customer; }
    void set_contact(std::shared_ptr<const author> contact) { m_contact = std::move(contact); }
    [[nodiscard]] const author* contact() const noexcept { return m_contact.get(); }

private:
    std::string m_customer;
    std::shared_ptr<const author> m_contact;
};
struct special_order : order {
    using order::order;
    std::vector<std::string> names;
};
} // namespace

TEST(prefetcher, members_may_be_any_callables_of_existing_types) {
    mp::memo by_name{&author::name, [](std::span<const std::string> names) {
                         std::list<author> rows;
                         for (const std::string& name : names) {
                             rows.push_back({static_cast<id>(name.size()), name});
                         }
                         return rows;
                     }};
    mp::links namesakes{[](std::span<const std::string> names) {
                            std::vector<std::tuple<std::string, std::string>> links;
                            for (const std::string& name : names) {
                                links.emplace_back(name, name + "a");
                                links.emplace_back(name, name + "b");
                            }
                            return links;
                        },
                        by_name};
    mp::prefetcher<special_order> orders{mp::to_one(by_name, &order::customer, &order::set_contact),
                                         mp::to_many(
                                             namesakes, [](const auto& one) { return one.customer(); },
                                             [](special_order& one, const auto& rows) {
                                                 for (const auto& row : rows) {
                                                     one.names.push_back(row->name);
                                                 }
                                             })};
    std::vector<special_order> chunk{special_order("Ann"), special_order("Bo")};
    orders.process_chunk(chunk);
    EXPECT_EQ("Bo", chunk[1].contact()->name);
    EXPECT_EQ((std::vector<std::string>{"Anna", "Annb"}), chunk[0].names);
}

TEST(prefetcher, callbacks_may_give_smart_pointers_and_other_ranges) {
    std::shared_ptr<const author> known = std::make_shared<author>(author{7, "Svevo"});
    mp::memo shared{&author::pk, [&](std::span<const id>) {
                        return std::array{known, std::shared_ptr<const author>{}};
                    }};
    EXPECT_EQ(known.get(), shared.resolve(ids{7})[0]);
    mp::memo unique{&author::pk, [](std::span<const id> keys) {
                        std::vector<std::unique_ptr<author>> rows;
                        rows.push_back(std::make_unique<author>(author{keys[0], "Joyce"}));
                        return rows;
                    }};
    EXPECT_EQ("Joyce", unique.resolve(ids{7})[0]->name);
    mp::memo<author, id> generic{[](const auto& row) { return row.pk; },
                                 [](auto keys) {
                                     return std::array{author{keys[0], "Woolf"}};
                                 }};
    EXPECT_EQ("Woolf", generic.resolve(ids{7})[0]->name);
}

TEST(prefetcher, stats_tell_what_each_relation_did) {
    bookshop shop;
    std::vector<book> chunk{{100, 1, 1}, {200, 1, {}}, {300, 4, 2}};
    shop.books.process_chunk(chunk);
    const auto by_relation = shop.books.stats();
    ASSERT_EQ(3U, by_relation.size());
    EXPECT_EQ(3U, by_relation[0].requests);
    EXPECT_EQ(2U, by_relation[0].misses);
    EXPECT_EQ(1U, by_relation[0].missing);
    EXPECT_EQ(2U, by_relation[1].requests);
    EXPECT_EQ(1U, by_relation[1].misses);
    EXPECT_EQ(5U, shop.authors.stats().requests);
    EXPECT_EQ(1U, shop.authors.stats().queries);
    EXPECT_EQ(3U, shop.book_categories.stats().misses);
    EXPECT_EQ(4U, shop.book_categories.stats().fetched);
}

#if defined(__cpp_exceptions)
TEST(prefetcher, a_failed_fetch_changes_no_object_and_no_memo) {
    bookshop shop;
    std::vector<book> first{{200, 2, {}}};
    shop.books.process_chunk(first);
    const auto before = shop.authors.stats();
    std::vector<book> chunk{{100, 1, 2}};
    shop.category_links.before = [] { throw std::runtime_error("no connection"); };
    EXPECT_THROW(shop.books.process_chunk(chunk), std::runtime_error);
    EXPECT_EQ(nullptr, chunk[0].author);
    EXPECT_EQ(before.size, shop.authors.stats().size);
    EXPECT_EQ(before.misses, shop.authors.stats().misses);
    shop.category_links.before = nullptr;
    shop.books.process_chunk(chunk);
    EXPECT_EQ("Woolf", chunk[0].author->name);
    EXPECT_EQ((ids{20, 10, 20}), pks(chunk[0].categories));
}
#endif
