/// The library's side: memos, links and prefetchers of a user, and how they perform an operation.
#pragma once

#include "rows.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace support::program {

/// What a user callback throws.
struct broken_call {};

/// `Memo`: mp::memo or mp::shared_memo.
template <template <class, class, class> class Memo>
struct library {
    static constexpr bool is_shared = Memo<int, id, mp::key_traits<id>>::thread_safe;

    using author_memo = Memo<author, id, mp::key_traits<id>>;
    using category_memo = Memo<category, id, mp::key_traits<id>>;
    using book_memo = Memo<book, id, mp::key_traits<id>>;

    /// A chunk or rows that are pinned.
    struct pin {
        virtual ~pin() = default;
        virtual void show_rows(std::vector<id>& out) const = 0;
    };
    template <class Object>
    struct pinned_objects final : pin {
        std::vector<Object> objects;
        std::optional<mp::pinned_chunk<Object>> pinned{};
        explicit pinned_objects(std::vector<Object> its_objects) : objects(std::move(its_objects)) {}
        void show_rows(std::vector<id>& out) const override {
            for (const Object& one : objects) {
                show_attached(out, one);
            }
        }
    };
    template <class Rows>
    struct pinned_keys final : pin {
        Rows rows;
        template <class Of>
        pinned_keys(Of& memo, const std::vector<std::optional<id>>& keys) : rows(memo.resolve(keys)) {}
        void show_rows(std::vector<id>& out) const override {
            for (const auto* row : rows) {
                show(out, row);
            }
        }
    };

    program::stage& stage;
    author_memo authors;
    category_memo categories;
    mp::links<id, category_memo> book_categories;
    mp::links<id, author_memo> book_authors;
    mp::prefetcher<book> prefetch_books;
    mp::prefetcher<book> prefetch_people; // used instead for rows of shared memos, since links are not shared
    book_memo books;
    mp::prefetcher<review> prefetch_reviews;
    mp::prefetcher<raw_book, mp::raw_pointers> prefetch_raw;
    std::vector<std::unique_ptr<pin>> open{};

    library(program::stage& its_stage, const program::size (&sizes)[program::memos], const std::size_t (&link_sizes)[2])
        : stage(its_stage), authors(key_of<author>(program::authors), fetch<author>(program::authors),
                                    size_of<author>(program::authors, sizes[program::authors])),
          categories(key_of<category>(program::categories), fetch_shared(program::categories),
                     size_of<category>(program::categories, sizes[program::categories])),
          book_categories(fetch_links(program::category_links), categories, {link_sizes[0]}),
          book_authors(fetch_links(program::author_links), authors, {link_sizes[1]}),
          prefetch_books(mp::to_one(authors, key<book>(0), attach_one<book>(0, &book::author)),
                         mp::to_many(book_categories, key_of_source<book>(1), attach_many(1, &book::categories)),
                         mp::to_one(authors, key<book>(2), attach_one<book>(2, &book::translator)),
                         mp::to_many(book_authors, key_of_source<book>(3), attach_many(3, &book::co_authors))),
          prefetch_people(mp::to_one(authors, key<book>(0), attach_one<book>(0, &book::author)),
                          mp::to_one(authors, key<book>(2), attach_one<book>(2, &book::translator))),
          books([this](const book& row) { return read_key(program::books, row.number); }, fetch_books(),
                size_of_book(sizes[program::books]), is_shared ? prefetch_people : prefetch_books),
          prefetch_reviews(mp::to_one(books, key<review>(0), attach_one<review>(0, &review::book)),
                           mp::to_one(authors, key<review>(1), attach_one<review>(1, &review::critic))),
          prefetch_raw(mp::to_one(authors, key<raw_book>(0), &raw_book::author),
                       mp::to_many(book_categories, key_of_source<raw_book>(1), &raw_book::categories)) {}

    void run(const operation& one) {
        switch (one.what) {
        case action::process:
            return one.chunk == chunk_of::books ? process(prefetch_books, books_of<book>(one), one.shape)
                                                : process(prefetch_reviews, books_of<review>(one), one.shape);
        case action::pin:
            return one.chunk == chunk_of::books     ? pin_chunk(prefetch_books, books_of<book>(one))
                   : one.chunk == chunk_of::reviews ? pin_chunk(prefetch_reviews, books_of<review>(one))
                                                    : pin_chunk(prefetch_raw, books_of<raw_book>(one));
        case action::resolve:
            return one.table == program::authors      ? resolve(authors, one)
                   : one.table == program::categories ? resolve(categories, one)
                                                      : resolve(books, one);
        case action::end_pin:
            if (!open.empty()) {
                const auto at = open.begin() + one.key % static_cast<id>(open.size());
                const auto ended = std::move(*at);
                open.erase(at);
            }
            return;
        case action::invalidate:
            return with_table(one.table, [&](auto& table) { table.invalidate(one.key); });
        case action::clear:
            return with_table(one.table, [](auto& table) { table.clear(); });
        case action::put_all:
            return put_all(one);
        }
    }
    template <class Visit>
    void with_table(std::size_t table, Visit&& visit) {
        switch (table) {
        case program::authors:
            return visit(authors);
        case program::categories:
            return visit(categories);
        case program::books:
            return visit(books);
        case program::category_links:
            return visit(book_categories);
        default:
            return visit(book_authors);
        }
    }

private:
    // ---- callbacks
    id read_key(std::size_t table, id row) {
        stage.template step<broken_call>(failing::key_of_row, table, row);
        return row;
    }
    template <class Row>
    auto key_of(std::size_t table) {
        return [this, table](const Row& row) { return read_key(table, row.pk); };
    }
    template <class Row>
    auto fetch(std::size_t table) {
        return [this, table](std::span<const id> asked) {
            stage.template fetching<broken_call>(table, asked);
            std::vector<Row> rows;
            for (const auto& [pk, serial, version] : stage.rows(table, asked)) {
                rows.push_back({pk, serial});
            }
            return rows;
        };
    }
    auto fetch_shared(std::size_t table) {
        return [this, table](std::span<const id> asked) {
            std::list<std::shared_ptr<const category>> rows{nullptr};
            for (category& row : fetch<category>(table)(asked)) {
                rows.push_back(std::make_shared<const category>(row));
            }
            return rows;
        };
    }
    static book book_row(const program::stage::answered_row& row) {
        return {row.key, row.serial, program::keys_of_book(row.key, row.version)};
    }
    auto fetch_books() {
        return [this](std::span<const id> asked) {
            stage.template fetching<broken_call>(program::books, asked);
            std::vector<std::unique_ptr<book>> rows;
            for (const auto& row : stage.rows(program::books, asked)) {
                rows.push_back(std::make_unique<book>(book_row(row)));
            }
            return rows;
        };
    }
    auto fetch_links(std::size_t table) {
        return [this, table](std::span<const id> asked) {
            stage.template fetching<broken_call>(table, asked);
            return stage.links(table, asked);
        };
    }
    template <class Row>
    mp::memo_size<Row> size_of(std::size_t table, program::size size) {
        return {size.entries, size.bytes, [this, table, size](const Row& row) { return weigh(table, size, row.pk); }};
    }
    mp::memo_size<book> size_of_book(program::size size) {
        return {size.entries, size.bytes,
                [this, size](const book& row) { return weigh(program::books, size, row.number); }};
    }
    std::size_t weigh(std::size_t table, const program::size& size, id key) {
        stage.template step<broken_call>(failing::size_of, table, key);
        return size.weight(key);
    }
    template <class Object>
    auto key(std::size_t relation) {
        return [this, relation](const Object& object) {
            stage.template step<broken_call>(failing::key_of_object, relation, object.number);
            return object.keys[relation];
        };
    }
    template <class Object>
    auto key_of_source(std::size_t relation) {
        return [this, relation](const Object& object) { return *key<Object>(relation)(object); };
    }
    template <class Object, class Member>
    auto attach_one(std::size_t relation, Member member) {
        return [ this, relation, member ](
            Object & object,
            const auto& row) requires std::is_object_v<std::remove_reference_t<decltype(object.*member = row)>> {
            stage.template step<broken_call>(failing::attach, relation, object.number);
            object.*member = row;
        };
    }
    template <class Member>
    auto attach_many(std::size_t relation, Member member) {
        return [this, relation, member](book& object, const auto& rows) {
            stage.template step<broken_call>(failing::attach, relation, object.number);
            (object.*member).assign(rows.begin(), rows.end());
        };
    }

    // ---- operations
    template <class Object>
    static std::vector<Object> books_of(const operation& one) {
        std::vector<Object> objects(one.objects.size());
        for (std::size_t at = 0; at < objects.size(); ++at) {
            objects[at].number = one.objects[at].number;
            objects[at].keys = one.objects[at].keys;
        }
        return objects;
    }
    /// Shows at its end what the objects were given, even if that is only a part.
    template <class Objects>
    struct shown_at_end {
        std::vector<id>& log;
        const Objects& objects;
        ~shown_at_end() {
            for (const auto& one : objects) {
                show_attached(log, one);
            }
        }
    };
    template <class Prefetcher, class Object>
    void process(Prefetcher& prefetch, std::vector<Object> objects, id shape) {
        const shown_at_end<std::vector<Object>> shown{stage.log, objects};
        if (shape == 0) {
            prefetch.process_chunk(objects);
        } else if (shape == 1) {
            prefetch.process_chunk(std::span<Object>(objects));
        } else {
            std::list<Object*> pointers;
            for (Object& one : objects) {
                pointers.push_back(&one);
            }
            prefetch.process_chunk(pointers);
        }
    }
    template <class Prefetcher, class Object>
    void pin_chunk(Prefetcher& prefetch, std::vector<Object> objects) {
        auto pinned = std::make_unique<pinned_objects<Object>>(std::move(objects));
        const shown_at_end<std::vector<Object>> shown{stage.log, pinned->objects};
        pinned->pinned.emplace(prefetch.pin_chunk(pinned->objects));
        open.push_back(std::move(pinned));
    }
    template <class Of>
    void resolve(Of& memo, const operation& one) {
        auto rows = std::make_unique<pinned_keys<mp::pinned_rows<Of>>>(memo, one.keys);
        rows->show_rows(stage.log);
        if (one.kept) {
            open.push_back(std::move(rows));
        }
    }
    void put_all(const operation& one) {
        bool whole = false;
        if (one.table == program::authors) {
            std::vector<author> rows;
            for (const id key : one.rows) {
                rows.push_back({key, ++stage.serial});
            }
            whole = authors.put_all(std::move(rows));
        } else if (one.table == program::categories) {
            std::vector<category> rows;
            for (const id key : one.rows) {
                rows.push_back({key, ++stage.serial});
            }
            whole = categories.put_all(rows);
        } else {
            std::vector<book> rows;
            for (const id key : one.rows) {
                const id serial = ++stage.serial;
                rows.push_back(book_row({key, serial, serial}));
            }
            whole = books.put_all(rows);
        }
        stage.log.push_back(whole ? 1 : 0);
    }
};

} // namespace support::program
