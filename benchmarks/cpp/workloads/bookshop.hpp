/// bookshop: two relations of every book.
#pragma once

#include "../by_hand.hpp"
#include "../rows.hpp"
#include "queries.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace workloads {

inline constexpr const char* books = "select id, author_id, publisher_id, title from book";

template <template <class> class To, class From>
Book<To> read_book(const From& from) {
    return {from.template get<std::int64_t>(0), from.template get<std::int64_t>(1), from.template get<std::int64_t>(2),
            from.template get<std::string>(3)};
}

class Shelf {
public:
    template <class Some>
    void add(const std::vector<Some>& chunk) {
        for (const Some& book : chunk) {
            const std::size_t length = book.author->name.size() + 3 * book.author->email.size() +
                                       5 * book.publisher->name.size() + 7 * book.publisher->country.size();
            m_sum += static_cast<std::uint64_t>(book.id) *
                     (static_cast<std::uint64_t>(book.author->id + 11 * book.publisher->id) + length);
        }
    }
    [[nodiscard]] std::uint64_t checksum() const { return m_sum; }

private:
    std::uint64_t m_sum = 0;
};

template <class Database>
std::uint64_t bookshop_one(Database& database) {
    auto author = one<Author>(database);
    auto publisher = one<Publisher>(database);
    one_query_per_row<Author> authors;
    one_query_per_row<Publisher> publishers;
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<pointer, typename Database::row>, &Book<pointer>::id)) {
        authors.attach(chunk, &Book<pointer>::author_id, &Book<pointer>::author, author);
        publishers.attach(chunk, &Book<pointer>::publisher_id, &Book<pointer>::publisher, publisher);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <class Database>
std::uint64_t bookshop_join(Database& database) {
    const std::string sql = "select b.id as id, b.author_id, b.publisher_id, b.title, a.id as author, a.name, a.email, "
                            "p.id as publisher, p.name as publisher_name, p.country from book b "
                            "left join author a on a.id = b.author_id left join publisher p on p.id = b.publisher_id";
    auto read = [](const typename Database::row& from) {
        auto book = read_book<std::optional>(from);
        book.author = joined<Author>(from, 4);
        book.publisher = joined<Publisher>(from, 7);
        return book;
    };
    Shelf shelf;
    for (auto& chunk : database.pages(sql, read, &Book<std::optional>::id)) {
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <template <class> class Rows, class Database>
std::uint64_t bookshop_in(Database& database) {
    lookup<Author, Rows> authors(fetch<Author>(database));
    lookup<Publisher, Rows> publishers(fetch<Publisher>(database));
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<pointer, typename Database::row>, &Book<pointer>::id)) {
        authors.attach(chunk, &Book<pointer>::author_id, &Book<pointer>::author);
        publishers.attach(chunk, &Book<pointer>::publisher_id, &Book<pointer>::publisher);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

template <class Database>
std::uint64_t bookshop_memo(Database& database) {
    mp::memo authors{&Author::id, fetch<Author>(database), {.entries = 20'000}};
    mp::memo publishers{&Publisher::id, fetch<Publisher>(database)};
    mp::prefetcher<Book<shared>> relations{
        mp::to_one(authors, &Book<shared>::author_id, &Book<shared>::author),
        mp::to_one(publishers, &Book<shared>::publisher_id, &Book<shared>::publisher)};
    Shelf shelf;
    for (auto& chunk : database.pages(books, read_book<shared, typename Database::row>, &Book<shared>::id)) {
        relations.process_chunk(chunk);
        shelf.add(chunk);
    }
    return shelf.checksum();
}

} // namespace workloads
