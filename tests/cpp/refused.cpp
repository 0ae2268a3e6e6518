// Wrong uses that must not compile, each with the one line that says why. `check_refused.cmake` compiles this twice: as it
// is, every line is right; with -DREFUSED every line after a comment "refused: ..." is wrong and gives only that error.
#include "support/shop.hpp"

#include <string>

#ifdef REFUSED
#define RIGHT(...)
#define WRONG(...) __VA_ARGS__
#else
#define RIGHT(...) __VA_ARGS__
#define WRONG(...)
#endif

using namespace shop;

namespace {
struct raw_book {
    id pk = 0;
    id author_id = 0;
    double price = 0;
    const shop::author* author = nullptr;
    std::shared_ptr<const category> genre = {};
    std::vector<const category*> categories = {};
};
struct mutable_book {
    id author_id = 0;
    std::shared_ptr<shop::author> changeable = {};
    std::shared_ptr<const shop::author> author = {};
};
struct unhashed {};
struct hashed {
    int value = 0;
    friend bool operator==(const hashed&, const hashed&) = default;
};
template <class Row>
auto rows_of() {
    return [](std::span<const id>) { return std::vector<Row>{}; };
}
auto some_links() {
    return [](std::span<const id>) { return std::vector<std::pair<id, id>>{}; };
}
} // namespace

template <>
struct mp::key_traits<hashed> {
    static std::uint64_t hash(hashed key) { return static_cast<std::uint64_t>(key.value); }
    static bool equal(hashed stored, hashed asked) { return stored == asked; }
};

// clang-format off
void memos() {
    mp::prefetcher<book> nested;
    mp::prefetcher<book, mp::raw_pointers> raw;
    mp::prefetcher<author> nested_in_authors;
    mp::prefetcher<author, mp::raw_pointers> raw_in_authors;
    // refused: a memo's fetch callback takes std::span<const Key> and returns a range of Row
    mp::memo{&author::pk, RIGHT(rows_of<author>()) WRONG([](const std::vector<id>&) { return std::vector<author>{}; })};
    // refused: a memo's fetch callback takes std::span<const Key> and returns a range of Row
    mp::memo{&author::name, [](std::span<const std::string>) { return std::vector<RIGHT(author) WRONG(book)>{}; }};
    // refused: the first argument of a memo returns the key of a row, as &Row::id does
    mp::memo<book, id>{RIGHT(&book::pk) WRONG(&book::categories), rows_of<book>()};
    // refused: cannot deduce row and key from this callable: write memo<Row, Key>
    mp::memo RIGHT(<book, id>){[](const auto& row) { return row.pk; }, rows_of<book>()};
    // refused: a key must be default-constructible and copyable, with key_traits
    using memo_of_keys [[maybe_unused]] = decltype(std::declval<mp::memo<book, RIGHT(hashed) WRONG(unhashed)>>().stats());
    // refused: rows of a memo outlive pins: attach std::shared_ptr<const T> to them
    mp::memo<book, id>{&book::pk, rows_of<book>(), {}, RIGHT(nested) WRONG(raw)};
    // refused: rows that pass through a prefetcher are returned by value or by pointer to non-const
    mp::memo<book, id>{&book::pk, rows_of<std::shared_ptr<RIGHT(book) WRONG(const book)>>(), {}, nested};
    // refused: deleted
    mp::memo<book, id>{&book::pk, rows_of<book>(), {}, RIGHT(nested) WRONG(mp::prefetcher<book>{})};
    // refused: rows of a memo outlive pins: attach std::shared_ptr<const T> to them
    mp::shared_memo<author, id>{&author::pk, rows_of<author>(), {}, RIGHT(nested_in_authors) WRONG(raw_in_authors)};
    // refused: deleted
    mp::shared_memo<book, id>{&book::pk, rows_of<book>(), {}, RIGHT(nested) WRONG(mp::prefetcher<book>{})};
}

void uses(mp::memo<author, id>& authors, [[maybe_unused]] const std::vector<author>& rows) {
    // refused: deleted
    RIGHT(auto& same) WRONG(auto same) = authors;
    static_cast<void>(same);
    // refused: resolve takes a forward range of this memo's keys
    static_cast<void>(authors.resolve(std::vector<RIGHT(id) WRONG(std::string)>{}));
    // refused: ignoring
    RIGHT(const auto pinned =) authors.resolve(std::vector<int>{});
    // refused: put_all takes a range of this memo's rows
    authors.put_all(RIGHT(rows) WRONG(std::vector<id>{}));
}

void shared_uses(mp::shared_memo<author, id>& authors) {
    // refused: deleted
    RIGHT(auto& same) WRONG(auto same) = authors;
    static_cast<void>(same);
    // refused: ignoring
    RIGHT(const auto pinned =) authors.resolve(std::vector<int>{});
    // refused: deleted
    static_cast<void>(mp::to_one(RIGHT(authors) WRONG(mp::shared_memo{&author::pk, rows_of<author>()}), &book::author_id, &book::author));
}

void relations(mp::memo<author, id>& authors, mp::links<id, mp::memo<category, id>>& links) {
    // refused: the second argument of to_one gives the memo's key, or an optional one, of the object
    mp::prefetcher<book>{mp::to_one(authors, RIGHT(&book::translator_id) WRONG(&book::categories), &book::author)};
    // refused: the second argument of to_one gives the memo's key, or an optional one, of the object
    mp::prefetcher<raw_book, mp::raw_pointers>{mp::to_one(authors, RIGHT(&raw_book::pk) WRONG(&raw_book::price), &raw_book::author)};
    // refused: the third argument of to_one takes std::shared_ptr<const Row>
    mp::prefetcher<raw_book, mp::raw_pointers>{mp::to_one(authors, &raw_book::author_id, RIGHT(&raw_book::author) WRONG(&raw_book::genre))};
    // refused: the third argument of to_one takes std::shared_ptr<const Row>
    mp::prefetcher<mutable_book>{mp::to_one(authors, &mutable_book::author_id, RIGHT(&mutable_book::author) WRONG(&mutable_book::changeable))};
    // refused: to attach raw pointers write prefetcher<Object, raw_pointers>
    mp::prefetcher<raw_book RIGHT(, mp::raw_pointers)>{mp::to_one(authors, &raw_book::author_id, &raw_book::author)};
    // refused: the second argument of to_many gives the links' source key of the object
    mp::prefetcher<book>{mp::to_many(links, RIGHT(&book::pk) WRONG(&book::author), &book::categories)};
    // refused: the third argument of to_many takes std::shared_ptr<const Row>s
    mp::prefetcher<book>{mp::to_many(links, &book::pk, RIGHT(&book::categories) WRONG(&book::author))};
    // refused: to attach raw pointers write prefetcher<Object, raw_pointers>
    mp::prefetcher<raw_book RIGHT(, mp::raw_pointers)>{mp::to_many(links, &raw_book::pk, &raw_book::categories)};
    // refused: deleted
    static_cast<void>(mp::to_one(RIGHT(authors) WRONG(mp::memo{&author::pk, rows_of<author>()}), &book::author_id, &book::author));
    // refused: deleted
    static_cast<void>(mp::to_many(RIGHT(links) WRONG(mp::links<id, mp::memo<category, id>>{some_links(), links.targets()}), &book::pk, &book::categories));
    // refused: deleted
    mp::links<id, mp::memo<category, id>>{some_links(), RIGHT(links.targets()) WRONG(mp::memo{&category::pk, rows_of<category>()})};
    // refused: the fetch callback of links takes std::span<const Source> and returns a range of links
    mp::links<id, mp::memo<category, id>>{RIGHT(some_links()) WRONG([](id) { return 0; }), links.targets()};
}

void chunks(mp::prefetcher<book>& books, mp::prefetcher<book, mp::raw_pointers>& raw [[maybe_unused]], std::vector<book>& chunk) {
    // refused: raw pointers are valid under a pin only: keep what pin_chunk returns
    RIGHT(books) WRONG(raw).process_chunk(chunk);
    // refused: this chunk would be gone with what is attached to it: give it a name
    books.process_chunk(RIGHT(chunk) WRONG(std::vector<book>{}));
    // refused: a chunk's elements are lvalues of the object type, not const, or pointers to such
    books.process_chunk(RIGHT(chunk) WRONG(std::as_const(chunk)));
    // refused: a chunk is a forward range of objects
    books.process_chunk(RIGHT(chunk) WRONG(chunk[0]));
    // refused: ignoring
    RIGHT(const auto pinned =) books.pin_chunk(chunk);
}
