/// The body of all random tests of the library's own API. It reads bytes as a program over memos, links and
/// prefetchers, nested ones too, whose callbacks may fail or do other things, and runs it on the library and on the
/// naive memos. After every step both must look the same: contents, order, pins and counters of every table, what
/// callbacks were asked, what objects were given, and how many rows are alive. Throws `difference` if they do not.
#pragma once

#include "naive_memos.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <list>
#include <sstream>
#include <stdexcept>
#include <string>

namespace support {

namespace mp = memoized_prefetch;

/// The program: the operations that both sides perform, one after another.
namespace program {

using naive_memos::id;

enum tables : std::size_t { authors, categories, books, category_links, author_links, all_tables };
inline constexpr std::size_t memos = 3;
inline constexpr id author_keys = 12;
inline constexpr id category_keys = 8;
inline constexpr id book_keys = 10;

/// The contents of the database, and how it answers.
struct database {
    std::map<id, id> versions[memos];
    std::map<id, std::vector<id>> links[2];
    bool sends_unasked = false;
    bool sends_twice = false;
};

struct size {
    std::optional<std::size_t> entries{};
    std::size_t bytes = mp::unbounded;
};

/// An object of a chunk, a book or a review, with its keys by relation.
struct object {
    id number;
    std::vector<std::optional<id>> keys;
};

/// Which user callback throws. In each operation only the first such call throws.
enum class failing { nothing, fetch, key_of_row, size_of, key_of_object, attach };
/// What a chunk contains: books, reviews, or books that get raw pointers.
enum class chunk_of : std::size_t { books, reviews, raw_books };

enum class action { process, pin, resolve, end_pin, invalidate, clear, put_all };
struct operation {
    action what = action::clear;
    chunk_of chunk = chunk_of::books;
    std::vector<object> objects{};
    id shape = 0; // of the chunk's range
    std::size_t table = 0;
    std::vector<std::optional<id>> keys{};
    std::vector<id> rows{};
    id key = 0;
    bool kept = false; // whether the result of `resolve` is kept
    failing fails = failing::nothing;
    std::size_t fails_in = 0; // table or relation
    id fails_at = 0;          // key or object
    std::size_t during_fetch_of = all_tables;
    std::shared_ptr<const operation> during{};
};

/// The keys of a book from the database: author, source of categories, translator, source of co-authors.
inline std::vector<std::optional<id>> keys_of_book(id key, id version) {
    return {(key * 5 + version) % author_keys, key,
            version % 3 == 0 ? std::nullopt : std::optional<id>((key + version) % author_keys), key};
}

/// The state of one side during an operation.
struct stage {
    const database& data;
    std::vector<id> log{}; // what was asked and given
    const operation* running = nullptr;
    bool during_is_to_come = false;
    std::function<void(const operation&)> run{};
    id serial = 0; // of the latest row

    template <class Broken>
    void step(failing what, std::size_t in, id at) {
        if (running != nullptr && running->fails == what && running->fails_in == in && running->fails_at == at) {
            throw Broken{};
        }
    }
    template <class Broken>
    void fetching(std::size_t table, std::span<const id> asked) {
        log.push_back(static_cast<id>(1'000 + table));
        log.insert(log.end(), asked.begin(), asked.end());
        step<Broken>(failing::fetch, table, 0);
        if (running != nullptr && during_is_to_come && running->during_fetch_of == table) {
            during_is_to_come = false;
            perform(*running->during);
        }
    }
    /// An operation within another one has its own failures.
    void perform(const operation& one) {
        struct restore {
            stage& self;
            const operation* running;
            bool during_is_to_come;
            ~restore() {
                self.running = running;
                self.during_is_to_come = during_is_to_come;
            }
        };
        const restore at_end{*this, running, during_is_to_come};
        running = &one;
        during_is_to_come = one.during != nullptr;
        run(one);
    }

    struct answered_row {
        id key;
        id serial;
        id version;
    };
    std::vector<answered_row> rows(std::size_t table, std::span<const id> asked) {
        std::vector<answered_row> found;
        const auto add = [&](id key) {
            if (const auto at = data.versions[table].find(key); at != data.versions[table].end()) {
                found.push_back({key, ++serial, at->second});
            }
        };
        if (data.sends_unasked) {
            add(3);
        }
        for (auto key = asked.rbegin(); key != asked.rend(); ++key) {
            add(*key);
        }
        if (data.sends_twice && !asked.empty()) {
            add(asked.front());
        }
        return found;
    }
    std::vector<std::pair<id, id>> links(std::size_t table, std::span<const id> asked) const {
        std::vector<std::pair<id, id>> found;
        for (std::size_t place = 0; place < 4; ++place) { // interleaves several sources
            for (const auto& [source, targets] : data.links[table - category_links]) {
                const bool wanted = std::find(asked.begin(), asked.end(), source) != asked.end();
                if ((wanted || (data.sends_unasked && source == 3)) && place < targets.size()) {
                    found.emplace_back(source, targets[place]);
                }
            }
        }
        return found;
    }
};

/// Bytes as operations.
class reader {
public:
    explicit reader(std::span<const std::uint8_t> bytes) : m_bytes(bytes) {}
    [[nodiscard]] bool empty() const noexcept { return m_bytes.empty(); }

    id next(id below) {
        if (m_bytes.empty()) {
            return 0;
        }
        const id value = m_bytes.front() % below;
        m_bytes = m_bytes.subspan(1);
        return value;
    }
    std::size_t next_size(std::size_t below) { return static_cast<std::size_t>(next(static_cast<id>(below))); }
    std::optional<id> next_or_null(id below) {
        const id value = next(below + 1);
        return value == below ? std::nullopt : std::optional<id>(value);
    }
    program::size next_bound() {
        switch (const std::size_t value = next_size(10)) {
        case 6:
            return {mp::unbounded, mp::unbounded};
        case 7:
            return {{}, 200};
        case 8:
            return {{}, 3'000};
        case 9:
            return {3, 260};
        default:
            return {value, mp::unbounded};
        }
    }
    operation next_operation(int depth) {
        operation one;
        one.what = static_cast<action>(next(7));
        switch (one.what) {
        case action::process:
        case action::pin:
            one.chunk = static_cast<chunk_of>(next(one.what == action::process ? 2 : 3));
            one.shape = next(3);
            one.objects.resize(next_size(6));
            for (object& each : one.objects) {
                each.number = &each - one.objects.data();
                if (one.chunk == chunk_of::reviews) {
                    each.keys = {next(book_keys), next_or_null(author_keys)};
                } else {
                    const id pk = next(book_keys);
                    each.keys = {next(author_keys), pk, next_or_null(author_keys), pk};
                }
            }
            break;
        case action::resolve:
            one.table = next_size(memos);
            one.kept = next(2) == 0;
            one.keys.resize(next_size(6));
            for (auto& key : one.keys) {
                key = next_or_null(author_keys);
            }
            break;
        case action::put_all:
            one.table = next_size(memos);
            one.rows.resize(next_size(6));
            for (id& key : one.rows) {
                key = next(author_keys);
            }
            break;
        case action::end_pin:
            one.key = next(4);
            break;
        case action::invalidate:
        case action::clear:
            one.table = next_size(all_tables);
            one.key = one.what == action::invalidate ? next(author_keys) : 0;
            break;
        }
        const id mishaps = next(6);
        if (mishaps == 0 || mishaps == 1) {
            one.fails = static_cast<failing>(next(6));
            one.fails_in = next_size(all_tables);
            one.fails_at = one.fails == failing::fetch ? 0 : next(6);
        }
        if ((mishaps == 1 || mishaps == 2) && depth < 2) {
            one.during_fetch_of = next_size(all_tables);
            one.during = std::make_shared<const operation>(next_operation(depth + 1));
        }
        return one;
    }

private:
    std::span<const std::uint8_t> m_bytes;
};

} // namespace program

/// `Memo`: mp::memo or mp::shared_memo.
template <template <class, class, class> class Memo>
class random_program {
    using id = program::id;
    using action = program::action;
    using failing = program::failing;
    using chunk_of = program::chunk_of;
    using operation = program::operation;
    static constexpr bool is_shared = Memo<int, id, mp::key_traits<id>>::thread_safe;

public:
    struct difference : std::logic_error {
        using std::logic_error::logic_error;
    };
    struct broken_call {};

    /// Counts of what happened, so that a test can check that it was not vacuous.
    struct tally {
        std::size_t operations = 0;
        std::size_t failed = 0;
        std::size_t misused = 0;
        std::size_t evicted = 0;
        std::size_t nested = 0;
        std::size_t compared_under_pins = 0;
    };

    static tally run(std::span<const std::uint8_t> bytes) {
        program::reader script(bytes);
        tally result;
        {
            random_program world(script);
            while (!script.empty()) {
                world.step(script);
            }
            while (!world.m_real->open.empty()) {
                world.both({.what = action::end_pin});
            }
            world.check_bounds();
            result = world.m_tally;
        }
        if (alive::count != 0 || naive_memos::row::alive != 0) {
            throw difference("rows are left");
        }
        return result;
    }

private:
    struct alive {
        inline static thread_local std::size_t count = 0;
        alive() noexcept { ++count; }
        alive(const alive&) noexcept { ++count; }
        alive& operator=(const alive&) noexcept = default;
        ~alive() { --count; }
    };
    struct author {
        id pk = 0;
        id serial = 0;
        alive counted{};
    };
    struct category {
        id pk = 0;
        id serial = 0;
        alive counted{};
    };
    struct book {
        id number = 0;
        id serial = 0;
        std::vector<std::optional<id>> keys{};
        std::shared_ptr<const random_program::author> author{};
        std::shared_ptr<const random_program::author> translator{};
        std::vector<std::shared_ptr<const category>> categories{};
        std::vector<std::shared_ptr<const random_program::author>> co_authors{};
        alive counted{};
    };
    struct raw_book {
        id number = 0;
        std::vector<std::optional<id>> keys{};
        const random_program::author* author = nullptr;
        std::vector<const category*> categories{};
        alive counted{};
    };
    struct review {
        id number = 0;
        std::vector<std::optional<id>> keys{};
        std::shared_ptr<const random_program::book> book{};
        std::shared_ptr<const author> critic{};
        alive counted{};
    };

    // What objects were given, as numbers: the serials of rows, followed by those of their related rows.
    template <class Row>
    static void show(std::vector<id>& out, const Row* row) {
        out.push_back(row == nullptr ? -1 : row->serial);
        if constexpr (std::same_as<Row, book>) {
            if (row != nullptr) {
                show_attached(out, *row);
            }
        }
    }
    template <class Rows>
    static void show_all(std::vector<id>& out, const Rows& rows) {
        out.push_back(static_cast<id>(rows.size()));
        for (const auto& row : rows) {
            show(out, std::to_address(row));
        }
    }
    static void show_attached(std::vector<id>& out, const book& one) {
        show(out, one.author.get());
        show_all(out, one.categories);
        show(out, one.translator.get());
        show_all(out, one.co_authors);
    }
    static void show_attached(std::vector<id>& out, const raw_book& one) {
        show(out, one.author);
        show_all(out, one.categories);
    }
    static void show_attached(std::vector<id>& out, const review& one) {
        show(out, one.book.get());
        show(out, one.critic.get());
    }

    /// The library's side.
    struct library {
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

        library(program::stage& its_stage, const program::size (&sizes)[program::memos],
                const std::size_t (&link_sizes)[2])
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
            return {size.entries, size.bytes, [this, table](const Row& row) { return weigh(table, row.pk); }};
        }
        mp::memo_size<book> size_of_book(program::size size) {
            return {size.entries, size.bytes, [this](const book& row) { return weigh(program::books, row.number); }};
        }
        std::size_t weigh(std::size_t table, id key) {
            stage.template step<broken_call>(failing::size_of, table, key);
            return random_program::weight(key);
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

    /// The naive side.
    struct oracle {
        using row_ptr = naive_memos::row_ptr;
        struct pin {
            std::unique_ptr<naive_memos::chunk> chunk{};
            std::unique_ptr<naive_memos::resolved> rows{};
            std::vector<row_ptr> objects{};
            chunk_of what = chunk_of::books;

            void show_rows(std::vector<id>& out) const {
                if (rows) {
                    for (const row_ptr& row : rows->rows()) {
                        show(out, row);
                    }
                }
                for (const row_ptr& one : objects) {
                    show_attached(out, *one);
                }
            }
        };

        program::stage& stage;
        naive_memos::memo memos[program::memos];
        naive_memos::links between[2];
        naive_memos::prefetcher prefetchers[4]; // in the order of chunk_of, then that of people
        std::vector<std::unique_ptr<pin>> open{};

        oracle(program::stage& its_stage, const library& real, const program::size (&sizes)[program::memos],
               const std::size_t (&link_sizes)[2])
            : stage(its_stage) {
            for (std::size_t table = 0; table < program::memos; ++table) {
                naive_memos::memo& one = memos[table];
                const program::size size = sizes[table];
                one.shared = is_shared;
                one.fetch = [this, table](std::span<const id> asked) {
                    stage.template fetching<naive_memos::broken_call>(table, asked);
                    std::vector<row_ptr> rows;
                    for (const auto& [key, serial, version] : stage.rows(table, asked)) {
                        rows.push_back(make_row(table, key, serial, version));
                    }
                    return rows;
                };
                one.read_key = [this, table](const naive_memos::row& row) {
                    stage.template step<naive_memos::broken_call>(failing::key_of_row, table, row.key);
                };
                one.weight = [this, table, size](const naive_memos::row* row) {
                    if (size.bytes == mp::unbounded) {
                        return std::size_t{0};
                    }
                    if (row != nullptr) {
                        stage.template step<naive_memos::broken_call>(failing::size_of, table, row->key);
                    }
                    return entry_bytes + (row == nullptr ? 0 : weight(row->key));
                };
            }
            mirror_shards(memos[program::authors], real.authors, sizes[program::authors]);
            mirror_shards(memos[program::categories], real.categories, sizes[program::categories]);
            mirror_shards(memos[program::books], real.books, sizes[program::books]);
            for (std::size_t at = 0; at < 2; ++at) {
                between[at].sources.bound = link_sizes[at];
                between[at].fetch = [this, at](std::span<const id> asked) {
                    stage.template fetching<naive_memos::broken_call>(program::category_links + at, asked);
                    return stage.links(program::category_links + at, asked);
                };
            }
            naive_memos::memo* authors = &memos[program::authors];
            naive_memos::memo* categories = &memos[program::categories];
            prefetchers[0].tables = {
                {authors, nullptr, {0, 2}}, {categories, &between[0], {1}}, {authors, &between[1], {3}}};
            prefetchers[1].tables = {{&memos[program::books], nullptr, {0}}, {authors, nullptr, {1}}};
            prefetchers[2].tables = {{authors, nullptr, {0}}, {categories, &between[0], {1}}};
            prefetchers[3].tables = {{authors, nullptr, {0, 2}}};
            for (naive_memos::prefetcher& one : prefetchers) {
                const bool attaches_by_member = &one == &prefetchers[2];
                one.counts.resize(4);
                one.read = [this](const naive_memos::row& object, std::size_t relation) {
                    stage.template step<naive_memos::broken_call>(failing::key_of_object, relation, object.key);
                };
                one.attach = [this, attaches_by_member](const naive_memos::row& object, std::size_t relation) {
                    if (!attaches_by_member) {
                        stage.template step<naive_memos::broken_call>(failing::attach, relation, object.key);
                    }
                };
            }
            memos[program::books].nested = &prefetchers[is_shared ? 3 : 0];
        }

        void run(const operation& one) {
            switch (one.what) {
            case action::process:
            case action::pin:
                return process(one);
            case action::resolve: {
                auto added = std::make_unique<pin>();
                added->rows = std::make_unique<naive_memos::resolved>(memos[one.table], one.keys);
                added->show_rows(stage.log);
                if (one.kept) {
                    open.push_back(std::move(added));
                }
                return;
            }
            case action::end_pin:
                if (!open.empty()) {
                    const auto at = open.begin() + one.key % static_cast<id>(open.size());
                    const auto ended = std::move(*at);
                    open.erase(at);
                }
                return;
            case action::invalidate:
                if (one.table < program::memos) {
                    memos[one.table].invalidate(one.key);
                } else {
                    between[one.table - program::category_links].check();
                    between[one.table - program::category_links].sources.forget(one.key);
                }
                return;
            case action::clear:
                if (one.table < program::memos) {
                    memos[one.table].clear();
                } else {
                    between[one.table - program::category_links].check();
                    between[one.table - program::category_links].sources.forget_all();
                }
                return;
            case action::put_all: {
                std::vector<row_ptr> rows;
                for (const id key : one.rows) {
                    const id serial = ++stage.serial;
                    rows.push_back(make_row(one.table, key, serial, serial));
                }
                stage.log.push_back(memos[one.table].put_all(rows) ? 1 : 0);
                return;
            }
            }
        }

        static void show(std::vector<id>& out, const row_ptr& row) {
            out.push_back(row ? row->serial : -1);
            if (row && !row->attached.empty()) {
                show_attached(out, *row);
            }
        }
        static void show_attached(std::vector<id>& out, const naive_memos::row& one) {
            for (std::size_t relation = 0; relation < one.attached.size(); ++relation) {
                const std::vector<row_ptr>& rows = one.attached[relation];
                // Reviews have no to-many relation; every second relation of books is one.
                if (one.serial != review_serial && relation % 2 == 1) {
                    out.push_back(static_cast<id>(rows.size()));
                    for (const row_ptr& row : rows) {
                        show(out, row);
                    }
                } else {
                    show(out, rows.empty() ? nullptr : rows[0]);
                }
            }
        }

    private:
        static constexpr id review_serial = -2;
        static constexpr std::size_t entry_bytes = sizeof(id) + sizeof(std::shared_ptr<const author>) + 48;

        static row_ptr make_row(std::size_t table, id key, id serial, id version) {
            auto row = std::make_shared<naive_memos::row>();
            row->key = key;
            row->serial = serial;
            if (table == program::books) {
                row->keys = program::keys_of_book(key, version);
                row->attached.resize(row->keys.size());
            }
            return row;
        }
        /// Copies from the library which keys share a shard.
        template <class Real>
        static void mirror_shards(naive_memos::memo& one, const Real& real, program::size size) {
            if constexpr (is_shared) {
                const auto& table = mp::detail::memo_access::table(real);
                one.shards.resize(table.shards());
                one.shard_of = [&table](id key) { return table.shard_of(table.tag_of(key)); };
            } else {
                one.shard_of = [](id) { return std::size_t{0}; };
            }
            const std::size_t count = one.shards.size();
            const auto part = [&](std::size_t whole, std::size_t at) {
                return whole == mp::unbounded ? whole : whole / count + (at < whole % count ? 1U : 0U);
            };
            const std::size_t entries =
                size.entries.value_or(size.bytes == mp::unbounded ? mp::default_entries : mp::unbounded);
            for (std::size_t at = 0; at < count; ++at) {
                one.shards[at].bound = part(entries, at);
                one.shards[at].weight_bound = part(size.bytes, at);
            }
        }
        void process(const operation& one) {
            auto added = std::make_unique<pin>();
            added->what = one.chunk;
            for (const program::object& each : one.objects) {
                auto object = std::make_shared<naive_memos::row>();
                object->key = each.number;
                object->serial = one.chunk == chunk_of::reviews ? review_serial : 0;
                object->keys = each.keys;
                object->attached.resize(one.chunk == chunk_of::raw_books ? 2 : each.keys.size());
                added->objects.push_back(std::move(object));
            }
            const struct shown_at_end {
                std::vector<id>& log;
                const std::vector<row_ptr> objects;
                ~shown_at_end() {
                    for (const row_ptr& object : objects) {
                        show_attached(log, *object);
                    }
                }
            } shown{stage.log, added->objects};
            added->chunk =
                std::make_unique<naive_memos::chunk>(prefetchers[static_cast<std::size_t>(one.chunk)], added->objects);
            if (one.what == action::pin) {
                open.push_back(std::move(added));
            }
        }
    };

    static std::size_t weight(id key) { return static_cast<std::size_t>(key % 4) * 10; }

    explicit random_program(program::reader& script) {
        program::size sizes[program::memos];
        for (program::size& one : sizes) {
            one = script.next_bound();
        }
        std::size_t link_sizes[2];
        for (std::size_t& one : link_sizes) {
            one = script.next_size(7);
            one = one == 6 ? mp::unbounded : one;
        }
        for (id key = 0; key < 9; ++key) {
            m_data.versions[program::authors][key] = 1;
            m_data.versions[program::books][key] = key;
        }
        for (id key = 0; key < 6; ++key) {
            m_data.versions[program::categories][key] = 1;
            m_data.links[0][key] = {key, (key * 3) % program::category_keys, key};
            m_data.links[1][key + 2] = {(key * 5) % program::author_keys, key};
        }
        m_real = std::make_unique<library>(m_real_stage, sizes, link_sizes);
        m_naive = std::make_unique<oracle>(m_naive_stage, *m_real, sizes, link_sizes);
        m_real_stage.run = [this](const operation& one) { m_real->run(one); };
        m_naive_stage.run = [this](const operation& one) { m_naive->run(one); };
    }

    void step(program::reader& script) {
        switch (script.next(8)) {
        case 0: {
            auto& versions = m_data.versions[script.next_size(program::memos)];
            const id key = script.next(program::author_keys);
            if (script.next(3) == 0) {
                versions.erase(key);
            } else {
                ++versions[key];
            }
            return;
        }
        case 1: {
            const std::size_t which = script.next_size(2);
            std::vector<id>& targets = m_data.links[which][script.next(program::book_keys)];
            targets.resize(script.next_size(4));
            for (id& target : targets) {
                target = script.next(which == 0 ? program::category_keys : program::author_keys);
            }
            m_data.sends_unasked = script.next(4) == 0;
            m_data.sends_twice = script.next(4) == 0;
            return;
        }
        default:
            return both(script.next_operation(0));
        }
    }

    void both(const operation& one) {
        if (m_real->open.size() >= 3 && (one.what == action::pin || one.what == action::resolve)) {
            return;
        }
        ++m_tally.operations;
        m_tally.nested += one.during ? 1U : 0U;
        m_real_stage.log.clear();
        m_naive_stage.log.clear();
        enum { done, broken, misused };
        int real = done;
        try {
            m_real_stage.perform(one);
        } catch (const broken_call&) {
            real = broken;
        } catch (const std::logic_error&) {
            real = misused;
        }
        int naive = done;
        try {
            m_naive_stage.perform(one);
        } catch (const naive_memos::broken_call&) {
            naive = broken;
        } catch (const naive_memos::misuse&) {
            naive = misused;
        }
        m_tally.failed += real == broken ? 1U : 0U;
        m_tally.misused += real == misused ? 1U : 0U;
        same("how it ended", {real}, {naive});
        same("what was asked and given", m_real_stage.log, m_naive_stage.log);
        compare();
    }

    static void same(const char* what, const std::vector<id>& library, const std::vector<id>& naive) {
        if (library != naive) {
            std::ostringstream text;
            text << what << "\n  library:";
            for (const id one : library) {
                text << ' ' << one;
            }
            text << "\n  naive:  ";
            for (const id one : naive) {
                text << ' ' << one;
            }
            throw difference(text.str());
        }
    }
    static void show_counters(std::vector<id>& out, const mp::counters& count) {
        for (const std::uint64_t one :
             {count.requests, count.hits, count.misses, count.fetched, count.missing, count.evicted, count.queries}) {
            out.push_back(static_cast<id>(one));
        }
    }
    static void show_stats(std::vector<id>& out, const mp::memo_stats& stats) {
        show_counters(out, stats);
        out.push_back(static_cast<id>(stats.size));
        out.push_back(static_cast<id>(stats.largest));
        out.push_back(static_cast<id>(stats.fetched_again));
    }
    static void show_stats(std::vector<id>& out, const mp::counters& count,
                           std::span<const naive_memos::table> tables) {
        show_counters(out, count);
        std::size_t size = 0;
        std::size_t largest = 0;
        std::uint64_t again = 0;
        for (const naive_memos::table& one : tables) {
            size += one.newest_first.size();
            largest += one.largest;
            again += one.fetched_again;
        }
        out.push_back(static_cast<id>(size));
        out.push_back(static_cast<id>(largest));
        out.push_back(static_cast<id>(again));
    }
    /// Keys, values and pins in the order of use.
    template <class Table>
    static void show_entries(std::vector<id>& out, const Table& table) {
        if (!table.consistent()) {
            throw difference("a table is not consistent");
        }
        for (auto slot = table.newest(); slot != mp::no_slot; slot = table.older(slot)) {
            out.push_back(table.key(slot));
            out.push_back(static_cast<id>(table.pins(slot)));
            if constexpr (requires { table.handle(slot); }) {
                show(out, table.handle(slot).get());
                if (table.is_absent(slot) != (table.handle(slot) == nullptr)) {
                    throw difference("an entry is neither a row nor an absence");
                }
            } else {
                out.insert(out.end(), table.targets(slot).begin(), table.targets(slot).end());
            }
        }
        out.push_back(-100);
    }
    static void show_entries(std::vector<id>& out, const naive_memos::table& table, bool of_links) {
        for (const naive_memos::entry_ptr& one : table.newest_first) {
            out.push_back(one->key);
            out.push_back(one->pins);
            if (of_links) {
                out.insert(out.end(), one->targets.begin(), one->targets.end());
            } else {
                oracle::show(out, one->value);
            }
        }
        out.push_back(-100);
    }

    void compare() {
        static constexpr const char* names[] = {"authors", "categories", "books", "book_categories", "book_authors"};
        for (std::size_t at = 0; at < program::all_tables; ++at) {
            std::vector<id> real;
            std::vector<id> naive;
            m_real->with_table(at, [&](auto& memo) {
                show_stats(real, memo.stats());
                auto& table = mp::detail::memo_access::table(memo);
                if constexpr (requires { table.shards(); }) {
                    for (std::size_t shard = 0; shard < table.shards(); ++shard) {
                        show_entries(real, table[shard].table);
                        if (!table[shard].flying.empty()) {
                            throw difference("a key is in flight for ever");
                        }
                    }
                } else {
                    show_entries(real, table);
                }
            });
            if (at < program::memos) {
                const naive_memos::memo& memo = m_naive->memos[at];
                show_stats(naive, memo.count, memo.shards);
                for (const naive_memos::table& shard : memo.shards) {
                    show_entries(naive, shard, false);
                }
            } else {
                const naive_memos::links& links = m_naive->between[at - program::category_links];
                show_stats(naive, links.count, {&links.sources, 1});
                show_entries(naive, links.sources, true);
            }
            same(names[at], real, naive);
        }
        std::vector<id> real;
        std::vector<id> naive;
        for (const auto& counts : {m_real->prefetch_books.stats(), m_real->prefetch_reviews.stats(),
                                   m_real->prefetch_raw.stats(), m_real->prefetch_people.stats()}) {
            for (const mp::counters& one : counts) {
                show_counters(real, one);
            }
        }
        for (const naive_memos::prefetcher& one : m_naive->prefetchers) {
            std::set<std::size_t> relations;
            for (const naive_memos::relations& table : one.tables) {
                relations.insert(table.numbers.begin(), table.numbers.end());
            }
            for (const std::size_t relation : relations) {
                show_counters(naive, one.counts[relation]);
            }
        }
        same("counters of relations", real, naive);
        real.clear();
        naive.clear();
        for (const auto& one : m_real->open) {
            one->show_rows(real);
        }
        for (const auto& one : m_naive->open) {
            one->show_rows(naive);
        }
        same("rows that are pinned", real, naive);
        m_tally.compared_under_pins += m_real->open.empty() ? 0U : 1U;
        same("rows and objects alive", {static_cast<id>(alive::count)}, {static_cast<id>(naive_memos::row::alive)});
    }
    void check_bounds() {
        for (naive_memos::memo& memo : m_naive->memos) {
            for (const naive_memos::table& one : memo.shards) {
                if (one.newest_first.size() > one.bound || one.weight() > one.weight_bound) {
                    throw difference("more is kept than may be");
                }
                m_tally.evicted += memo.count.evicted;
            }
        }
    }

    program::database m_data;
    program::stage m_real_stage{m_data};
    program::stage m_naive_stage{m_data};
    std::unique_ptr<library> m_real;
    std::unique_ptr<oracle> m_naive;
    tally m_tally;
};

/// The first byte selects the kind of memo.
inline void run_program(std::span<const std::uint8_t> bytes) {
    if (!bytes.empty() && bytes.front() % 2 == 1) {
        random_program<mp::shared_memo>::run(bytes.subspan(1));
    } else {
        random_program<mp::memo>::run(bytes.subspan(bytes.empty() ? 0 : 1));
    }
}

} // namespace support
