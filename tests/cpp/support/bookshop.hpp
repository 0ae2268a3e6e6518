/// The bookshop: books with an author, perhaps a translator, and categories; and the database of all these.
///
/// The sources below are what a user of the core writes. They also record what they were asked, and can run other code
/// in the middle of a query.
#pragma once

#include "tripwire.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bookshop {

namespace mp = memoized_prefetch;
using id = std::int64_t;

struct country {
    id pk = 0;
    std::string name;
    mutable bool deleted = false; // as in Django, a deleted row has no key any more
};

struct author {
    id pk = 0;
    std::string name;
    std::optional<id> country_id;
    mutable std::shared_ptr<const country> lives_in; // attached once, when the row is new
    mutable bool deleted = false;
};

struct category {
    id pk = 0;
    std::string name;
    mutable bool deleted = false;
};

/// What is attached. `none`: nothing was ever attached.
enum class attachment { none, row, empty };

template <class Row>
struct relation {
    attachment state = attachment::none;
    std::shared_ptr<const Row> row;
    friend bool operator==(const relation&, const relation&) = default;
};

struct book {
    id pk = 0;
    std::optional<id> author_id;
    std::optional<id> translator_id;
    bool author_id_deferred = false;
    relation<author> by;
    relation<author> translated_by;
    attachment categories_state = attachment::none;
    std::vector<std::shared_ptr<const category>> categories;
};

/// A table of the database, read by key.
template <class Row>
class row_source {
public:
    using handle = std::shared_ptr<const Row>;

    std::map<id, Row> rows;
    std::vector<handle> unasked; ///< sent along with every answer, before the rows asked for
    std::vector<std::vector<id>> queries;
    std::function<void()> during_fetch;
    bool releases_are_calls = false; ///< destroying a row also calls user code, like Python's `__del__`

    row_source() = default;
    row_source(std::initializer_list<Row> all) {
        for (const Row& row : all) {
            rows.emplace(row.pk, row);
        }
    }

    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        support::user_calls::step();
        queries.emplace_back(asked.begin(), asked.end());
        if (during_fetch) {
            std::exchange(during_fetch, nullptr)();
        }
        for (const handle& row : unasked) {
            take(row);
        }
        // A database answers in its own order: here, the reverse of the keys'.
        for (auto key = asked.rbegin(); key != asked.rend(); ++key) {
            if (const auto found = rows.find(*key); found != rows.end()) {
                support::user_calls::step();
                take(make(found->second));
            }
        }
    }
    handle make(const Row& row) const {
        if (!releases_are_calls) {
            return std::make_shared<const Row>(row);
        }
        return handle(new Row(row), [](const Row* gone) {
            delete gone;
            support::user_calls::step();
        });
    }
    id key_of(const handle& row) const {
        support::user_calls::step();
        return row->pk;
    }
    static constexpr bool exchanges_rows = true;
    bool valid(const handle& row, const id& key) const {
        support::user_calls::step();
        return !row->deleted && row->pk == key;
    }
};

/// The table between books and categories.
class link_source {
public:
    std::vector<std::pair<id, id>> links; ///< book, category
    std::vector<std::vector<id>> queries;
    std::function<void()> during_fetch;

    template <class Asked, class Take>
    void fetch(const Asked& asked, Take&& take) {
        support::user_calls::step();
        queries.emplace_back(asked.begin(), asked.end());
        if (during_fetch) {
            std::exchange(during_fetch, nullptr)();
        }
        for (const auto& [from, to] : links) {
            for (const id key : asked) {
                if (key == from) {
                    support::user_calls::step();
                    take(from, to);
                }
            }
        }
    }
};

/// Object model: books with their authors and translators.
struct authors_of_books {
    std::vector<book>& books;
    std::size_t deferred_queries = 0;

    [[nodiscard]] std::size_t size() const { return books.size(); }
    [[nodiscard]] static std::size_t width() { return 2; }
    void read(std::size_t i, std::span<mp::key_reading<id>> keys) const {
        support::user_calls::step();
        const book& one = books[i];
        keys[0] = reading(one.by, one.author_id);
        if (keys[0].state != mp::key_state::attached && one.author_id_deferred) {
            keys[0].state = mp::key_state::deferred;
        }
        keys[1] = reading(one.translated_by, one.translator_id);
    }
    template <class Numbers>
    void load_deferred(const Numbers& objects) {
        ++deferred_queries;
        for (const std::size_t i : objects) {
            books[i].author_id_deferred = false;
        }
    }
    void attach(std::size_t i, std::span<const std::shared_ptr<const author>* const> rows) const {
        support::user_calls::step();
        hang(books[i].by, rows[0]);
        hang(books[i].translated_by, rows[1]);
    }

private:
    static mp::key_reading<id> reading(const relation<author>& to, const std::optional<id>& key) {
        if (to.state != attachment::none) {
            return {mp::key_state::attached, 0};
        }
        return key ? mp::key_reading<id>{mp::key_state::present, *key} : mp::key_reading<id>{};
    }
    static void hang(relation<author>& to, const std::shared_ptr<const author>* row) {
        if (row != nullptr) {
            to = {*row ? attachment::row : attachment::empty, *row};
        }
    }
};

/// Object model: books with their categories. A book without a primary key is not saved yet.
struct categories_of_books {
    std::vector<book>& books;

    [[nodiscard]] std::size_t size() const { return books.size(); }
    void read(std::size_t i, std::span<mp::key_reading<id>> keys) const {
        support::user_calls::step();
        const book& one = books[i];
        if (one.categories_state != attachment::none) {
            keys[0] = {mp::key_state::attached, 0};
        } else if (one.pk == 0) {
            keys[0] = {mp::key_state::null, 0};
        } else {
            keys[0] = {mp::key_state::present, one.pk};
        }
    }
    void attach(std::size_t i, std::span<const std::shared_ptr<const category>* const> rows) const {
        support::user_calls::step();
        book& one = books[i];
        one.categories.clear();
        for (const auto* row : rows) {
            one.categories.push_back(*row);
        }
        one.categories_state = rows.empty() ? attachment::empty : attachment::row;
    }
};

/// Object model: authors that were just read, with their countries.
struct countries_of_authors {
    std::vector<std::shared_ptr<const author>>& authors;

    [[nodiscard]] std::size_t size() const { return authors.size(); }
    [[nodiscard]] static std::size_t width() { return 1; }
    void read(std::size_t i, std::span<mp::key_reading<id>> keys) const {
        const author& one = *authors[i];
        keys[0] = one.lives_in     ? mp::key_reading<id>{mp::key_state::attached, 0}
                  : one.country_id ? mp::key_reading<id>{mp::key_state::present, *one.country_id}
                                   : mp::key_reading<id>{};
    }
    void attach(std::size_t i, std::span<const std::shared_ptr<const country>* const> rows) const {
        if (rows[0] != nullptr) {
            authors[i]->lives_in = *rows[0];
        }
    }
};

template <class Row, class Traits = mp::key_traits<id>, class Allocator = std::allocator<std::byte>>
using memo_of = mp::memo_table<id, std::shared_ptr<const Row>, Traits, Allocator>;
using author_memo = memo_of<author>;
using category_memo = memo_of<category>;
using book_links = mp::link_table<id, id>;

/// Collects the keys of a group of objects, and loads those that are deferred.
template <class Memo, class Objects>
std::size_t collect(mp::to_one_pass<Memo>& pass, Objects& objects) {
    typename mp::to_one_pass<Memo>::template vector_of<std::size_t> deferred;
    const std::size_t number = pass.collect(objects, &deferred);
    if (!deferred.empty()) {
        objects.load_deferred(deferred);
        pass.collect_loaded(number, objects, deferred);
    }
    return number;
}

/// One whole chunk, as a user of the core runs it. `count` has two relations: author and translator.
template <class Memo, class Source>
std::size_t attach_authors(Memo& memo, Source& source, std::vector<book>& books, std::span<mp::counters> count) {
    mp::to_one_pass<Memo> pass(memo);
    authors_of_books objects{books};
    const std::size_t number = collect(pass, objects);
    pass.resolve(source);
    pass.attach(number, objects);
    pass.commit(count);
    const std::size_t evicted = pass.release();
    count[0].evicted += evicted;
    return evicted;
}
template <class Memo, class Source>
std::size_t attach_authors(Memo& memo, Source& source, std::vector<book>& books) {
    mp::counters count[2];
    return attach_authors(memo, source, books, count);
}

template <class Links, class Memo, class Source>
void attach_categories(Links& links, Memo& memo, link_source& between, Source& source, std::vector<book>& books,
                       mp::counters& rows, mp::counters& link_count) {
    mp::to_many_pass<Links, Memo> pass(links, memo);
    categories_of_books objects{books};
    pass.collect(objects);
    pass.resolve(between, source);
    pass.attach(objects);
    pass.commit(rows, link_count);
    rows.evicted += pass.release_rows();
    link_count.evicted += pass.release_links();
}
template <class Links, class Memo, class Source>
void attach_categories(Links& links, Memo& memo, link_source& between, Source& source, std::vector<book>& books) {
    mp::counters rows;
    mp::counters link_count;
    attach_categories(links, memo, between, source, books, rows, link_count);
}

/// Books with these authors, and no translators.
inline std::vector<book> books_by(std::initializer_list<id> authors) {
    std::vector<book> books;
    for (const id one : authors) {
        book added;
        added.pk = 100 + static_cast<id>(books.size());
        added.author_id = one;
        books.push_back(added);
    }
    return books;
}
/// Books with these primary keys.
inline std::vector<book> books_numbered(std::initializer_list<id> keys) {
    std::vector<book> books;
    for (const id one : keys) {
        book added;
        added.pk = one;
        books.push_back(added);
    }
    return books;
}
/// `count` authors, numbered from 1.
inline row_source<author> authors_numbered_to(id count) {
    row_source<author> source;
    for (id key = 1; key <= count; ++key) {
        source.rows[key] = author{key, "author " + std::to_string(key), {}, {}, false};
    }
    return source;
}
inline row_source<category> categories_numbered_to(id count) {
    row_source<category> source;
    for (id key = 1; key <= count; ++key) {
        source.rows[key] = category{key, "category " + std::to_string(key), false};
    }
    return source;
}

} // namespace bookshop
