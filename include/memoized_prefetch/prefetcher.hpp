/// prefetcher: what hangs where on the objects of a chunk, and the call that attaches it.
///
///   prefetcher<Book> books{to_one(authors, &Book::author_id, &Book::author),
///                          to_many(book_categories, &Book::id, &Book::categories)};
///   books.process_chunk(chunk);
///
/// A chunk costs at most one call of each memo's fetch callback for all to-one relations to it, one of each links', and one
/// more of their memo's; nothing is called for what is remembered. First everything is fetched, then everything attached: when
/// a callback throws, no object has been changed, and the memos are as before.
///
/// Memos and links are only referred to: they outlive their prefetchers and stay where they are.
#pragma once

#include <memoized_prefetch/links.hpp>

#include <mutex>

namespace memoized_prefetch {

/// What a prefetcher may attach: `std::shared_ptr<const Row>` only, to be kept as long as one likes, ...
struct shared_handles {};
/// ... or `const Row*` too, which is valid while what `pin_chunk` returned lives. Not for the rows of a memo.
struct raw_pointers {};

namespace detail {
template <class Handle>
struct dereference {
    const Handle& operator()(const Handle* handle) const noexcept { return *handle; }
};
} // namespace detail

/// The rows that a to-many relation leads to, in order: a random-access range of `std::shared_ptr<const Row>`, none of them null.
template <class Row>
using target_rows =
    detail::mapped_span<const std::shared_ptr<const Row>*, detail::dereference<std::shared_ptr<const Row>>>;

/// Gives the key that an object holds, perhaps an optional one.
template <class KeyOf, class Object, class Key>
concept key_of_object = std::invocable<const KeyOf&, const Object&> &&
    detail::gives_key<std::invoke_result_t<const KeyOf&, const Object&>, Key>;

namespace detail {

template <class Attach, class Object>
struct member {
    using type = not_told;
};
template <class Type, class Class, class Object>
requires std::is_object_v<Type> && std::derived_from<Object, Class>
struct member<Type Class::*, Object> {
    using type = Type;
};
template <class Attach, class Object>
using member_t = typename member<Attach, Object>::type;

template <class Pointer, class Row>
concept pointer_to_row = std::is_pointer_v<Pointer> && std::convertible_to<const Row*, Pointer>;
template <class Container, class Element>
concept takes_elements = requires(Container& rows, const Element& row) {
    rows.insert(rows.end(), row);
};

template <class Attach, class Object, class Row>
concept attaches_pointer = pointer_to_row<member_t<Attach, Object>, Row> ||
    (std::invocable<const Attach&, Object&, const Row*> &&
     !std::invocable<const Attach&, Object&, const std::shared_ptr<const Row>&>);
template <class Attach, class Object, class Row>
concept attaches_pointers = requires {
    typename member_t<Attach, Object>::value_type;
}
&&pointer_to_row<typename member_t<Attach, Object>::value_type, Row>&&
    takes_elements<member_t<Attach, Object>, const Row*>;
} // namespace detail

/// Takes the row of a to-one relation: a member `std::shared_ptr<const Row>` or `const Row*`, or a callable that is given the
/// object and one of these.
template <class Attach, class Object, class Row>
concept attaches_row = detail::attaches_pointer<Attach, Object, Row> ||
                       (std::is_assignable_v<detail::member_t<Attach, Object>&, const std::shared_ptr<const Row>&>&&
                            std::is_class_v<detail::member_t<Attach, Object>>) ||
                       std::invocable<const Attach&, Object&, const std::shared_ptr<const Row>&>;

/// Takes the rows of a to-many relation: a member container of `std::shared_ptr<const Row>` or `const Row*`, or a callable that
/// is given the object and `target_rows<Row>`.
template <class Attach, class Object, class Row>
concept attaches_rows = detail::attaches_pointers<Attach, Object, Row> ||
                        (std::default_initializable<detail::member_t<Attach, Object>>&&
                             detail::takes_elements<detail::member_t<Attach, Object>, std::shared_ptr<const Row>>) ||
                        std::invocable<const Attach&, Object&, target_rows<Row>>;

/// A relation to the row that a key of the object names. See `to_one`.
template <class Memo, class KeyOf, class Attach>
struct to_one_relation {
    Memo& memo;
    KeyOf key_of;
    Attach attach;
};
/// A relation to the rows that links name. See `to_many`.
template <class Links, class KeyOf, class Attach>
struct to_many_relation {
    Links& links;
    KeyOf key_of;
    Attach attach;
};

/// The row of `memo` whose key is `key_of(object)` goes to `attach`; a null handle when the key is null or has no row.
template <class Memo, class KeyOf, class Attach>
[[nodiscard]] to_one_relation<Memo, KeyOf, Attach> to_one(Memo& memo, KeyOf key_of, Attach attach) {
    return {memo, std::move(key_of), std::move(attach)};
}
template <class Memo, class KeyOf, class Attach>
void to_one(const Memo&&, KeyOf, Attach) = delete; // it would be gone at once

/// The rows that `links` names for the source `key_of(object)` go to `attach`, in the order and with the duplicates of the
/// links; none when the key is null.
template <class Links, class KeyOf, class Attach>
[[nodiscard]] to_many_relation<Links, KeyOf, Attach> to_many(Links& links, KeyOf key_of, Attach attach) {
    return {links, std::move(key_of), std::move(attach)};
}
template <class Links, class KeyOf, class Attach>
void to_many(const Links&&, KeyOf, Attach) = delete; // they would be gone at once

namespace detail {

/// The objects of a chunk, side by side or each somewhere else.
template <class Object>
class chunk_objects {
public:
    explicit chunk_objects(std::span<Object> objects) noexcept : m_first(objects.data()), m_size(objects.size()) {}
    explicit chunk_objects(std::span<Object* const> objects) noexcept
        : m_pointers(objects.data()), m_size(objects.size()) {}
    [[nodiscard]] std::size_t size() const noexcept { return m_size; }
    [[nodiscard]] Object& operator[](std::size_t at) const noexcept {
        return m_pointers == nullptr ? m_first[at] : *m_pointers[at];
    }

private:
    Object* m_first = nullptr;
    Object* const* m_pointers = nullptr;
    std::size_t m_size;
};

/// Object model of the passes; see chunk_pass.hpp.
template <class Object, class Key, class KeyOf>
struct keyed_objects {
    const chunk_objects<Object>& objects;
    const KeyOf& key_of;

    [[nodiscard]] std::size_t size() const noexcept { return objects.size(); }
    [[nodiscard]] static std::size_t width() noexcept { return 1; }
    void read(std::size_t at, std::span<key_reading<Key>> out) const {
        out[0] = reading_of<Key>(std::invoke(key_of, std::as_const(objects[at])));
    }
};
template <class Object, class Memo, class KeyOf, class Attach>
struct to_one_objects : keyed_objects<Object, typename Memo::key_type, KeyOf> {
    const Attach& attach_to;

    void attach(std::size_t at, std::span<const typename Memo::handle_type* const> rows) const {
        using row = typename Memo::row_type;
        Object& object = this->objects[at];
        if constexpr (attaches_pointer<Attach, Object, row> && std::is_member_object_pointer_v<Attach>) {
            object.*attach_to = rows[0]->get();
        } else if constexpr (attaches_pointer<Attach, Object, row>) {
            std::invoke(attach_to, object, rows[0]->get());
        } else if constexpr (std::is_member_object_pointer_v<Attach>) {
            object.*attach_to = *rows[0];
        } else {
            std::invoke(attach_to, object, *rows[0]);
        }
    }
};
template <class Object, class Links, class KeyOf, class Attach>
struct to_many_objects : keyed_objects<Object, typename Links::source_type, KeyOf> {
    const Attach& attach_to;

    void attach(std::size_t at, std::span<const typename Links::handle_type* const> rows) const {
        using row = typename Links::row_type;
        Object& object = this->objects[at];
        if constexpr (std::is_member_object_pointer_v<Attach>) {
            member_t<Attach, Object> fresh{};
            if constexpr (requires { fresh.reserve(rows.size()); }) {
                fresh.reserve(rows.size());
            }
            for (const auto* one : rows) {
                if constexpr (attaches_pointers<Attach, Object, row>) {
                    fresh.insert(fresh.end(), one->get());
                } else {
                    fresh.insert(fresh.end(), *one);
                }
            }
            object.*attach_to = std::move(fresh);
        } else {
            std::invoke(attach_to, object, target_rows<row>(rows));
        }
    }
};

/// What one chunk does with one table, from its keys to the end of its pins.
template <class Object>
class chunk_step {
public:
    chunk_step() = default;
    chunk_step(const chunk_step&) = delete;
    chunk_step& operator=(const chunk_step&) = delete;
    virtual ~chunk_step() = default;
    virtual void resolve(const chunk_objects<Object>& objects) = 0;
    virtual void attach(const chunk_objects<Object>& objects) = 0;
    virtual void commit(std::span<counters> relations) noexcept = 0;
    virtual void roll_back() noexcept = 0;
    virtual void unpin() noexcept = 0;
    virtual void release() noexcept = 0;
};
/// One or more relations that lead to one table.
template <class Object>
class table_relations {
public:
    table_relations() = default;
    table_relations(const table_relations&) = delete;
    table_relations& operator=(const table_relations&) = delete;
    virtual ~table_relations() = default;
    [[nodiscard]] virtual std::unique_ptr<chunk_step<Object>> start() = 0;
    /// The memo, when these are to-one relations: others that lead to it join them.
    [[nodiscard]] virtual const void* joined_by() const noexcept { return nullptr; }
};

template <class Object, class Memo>
class to_one_table final : public table_relations<Object> {
    using pass = to_one_pass<typename Memo::table_type>;

public:
    explicit to_one_table(Memo& memo) noexcept : m_memo(memo) {}

    template <class KeyOf, class Attach>
    void add(std::size_t number, KeyOf key_of, Attach attach) {
        m_relations.push_back(
            std::make_unique<relation_of<KeyOf, Attach>>(number, std::move(key_of), std::move(attach)));
    }
    [[nodiscard]] std::unique_ptr<chunk_step<Object>> start() override {
        memo_access::check(m_memo);
        return std::make_unique<step>(m_memo, m_relations);
    }
    [[nodiscard]] const void* joined_by() const noexcept override { return &m_memo; }

private:
    struct relation {
        explicit relation(std::size_t its_number) noexcept : number(its_number) {}
        relation(const relation&) = delete;
        relation& operator=(const relation&) = delete;
        virtual ~relation() = default;
        virtual void collect(pass& rows, const chunk_objects<Object>& objects) const = 0;
        virtual void attach(pass& rows, std::size_t group, const chunk_objects<Object>& objects) const = 0;
        std::size_t number; // among the prefetcher's
    };
    template <class KeyOf, class Attach>
    struct relation_of final : relation {
        relation_of(std::size_t its_number, KeyOf its_key, Attach its_attach)
            : relation(its_number), key_of(std::move(its_key)), attach_to(std::move(its_attach)) {}
        void collect(pass& rows, const chunk_objects<Object>& objects) const override {
            to_one_objects<Object, Memo, KeyOf, Attach> model{{objects, key_of}, attach_to};
            rows.collect(model);
        }
        void attach(pass& rows, std::size_t group, const chunk_objects<Object>& objects) const override {
            to_one_objects<Object, Memo, KeyOf, Attach> model{{objects, key_of}, attach_to};
            rows.attach(group, model);
        }
        KeyOf key_of;
        Attach attach_to;
    };
    using relations = std::vector<std::unique_ptr<relation>>;

    class step final : public chunk_step<Object> {
    public:
        step(Memo& memo, const relations& all)
            : m_memo(memo), m_relations(all), m_counts(all.size()), m_pass(memo_access::table(memo)) {}
        void resolve(const chunk_objects<Object>& objects) override {
            for (const auto& one : m_relations) {
                one->collect(m_pass, objects);
            }
            auto source = memo_access::source(m_memo);
            m_pass.resolve(source);
        }
        void attach(const chunk_objects<Object>& objects) override {
            for (std::size_t group = 0; group < m_relations.size(); ++group) {
                m_relations[group]->attach(m_pass, group, objects);
            }
        }
        void commit(std::span<counters> all) noexcept override {
            m_pass.commit(m_counts);
            for (std::size_t group = 0; group < m_relations.size(); ++group) {
                all[m_relations[group]->number] += m_counts[group];
                memo_access::count(m_memo, m_counts[group]);
            }
        }
        void roll_back() noexcept override { m_pass.roll_back(); }
        void unpin() noexcept override { m_pass.unpin(); }
        void release() noexcept override {
            counters count;
            count.evicted = m_pass.release();
            memo_access::count(m_memo, count);
        }

    private:
        Memo& m_memo;
        const relations& m_relations;
        std::vector<counters> m_counts;
        pass m_pass;
    };

    Memo& m_memo;
    relations m_relations;
};

template <class Object, class Links, class KeyOf, class Attach>
class to_many_table final : public table_relations<Object> {
    using memo_type = typename Links::memo_type;

public:
    to_many_table(Links& links, std::size_t number, KeyOf key_of, Attach attach)
        : m_links(links), m_number(number), m_key_of(std::move(key_of)), m_attach(std::move(attach)) {}
    [[nodiscard]] std::unique_ptr<chunk_step<Object>> start() override {
        memo_access::check(m_links);
        memo_access::check(m_links.targets());
        return std::make_unique<step>(*this);
    }

private:
    class step final : public chunk_step<Object> {
    public:
        explicit step(const to_many_table& relation)
            : m_relation(relation), m_links(relation.m_links),
              m_pass(memo_access::table(m_links), memo_access::table(m_links.targets())) {}
        void resolve(const chunk_objects<Object>& objects) override {
            auto model = of(objects);
            m_pass.collect(model);
            auto link_source = memo_access::source(m_links);
            auto row_source = memo_access::source(m_links.targets());
            m_pass.resolve(link_source, row_source);
        }
        void attach(const chunk_objects<Object>& objects) override {
            auto model = of(objects);
            m_pass.attach(model);
        }
        void commit(std::span<counters> all) noexcept override {
            counters rows;
            counters link_count;
            m_pass.commit(rows, link_count);
            all[m_relation.m_number] += rows;
            memo_access::count(m_links.targets(), rows);
            memo_access::count(m_links, link_count);
        }
        void roll_back() noexcept override { m_pass.roll_back(); }
        void unpin() noexcept override { m_pass.unpin(); }
        void release() noexcept override {
            counters rows;
            counters link_count;
            rows.evicted = m_pass.release_rows();
            link_count.evicted = m_pass.release_links();
            memo_access::count(m_links.targets(), rows);
            memo_access::count(m_links, link_count);
        }

    private:
        [[nodiscard]] auto of(const chunk_objects<Object>& objects) const noexcept {
            return to_many_objects<Object, Links, KeyOf, Attach>{{objects, m_relation.m_key_of}, m_relation.m_attach};
        }
        const to_many_table& m_relation;
        Links& m_links;
        to_many_pass<typename Links::table_type, typename memo_type::table_type> m_pass;
    };

    Links& m_links;
    std::size_t m_number;
    KeyOf m_key_of;
    Attach m_attach;
};

} // namespace detail

/// The rows of a chunk, which stay where they are while this lives. Must not outlive the prefetcher and its memos.
template <class Object>
class [[nodiscard]] pinned_chunk {
public:
    pinned_chunk(pinned_chunk&&) noexcept = default;
    pinned_chunk(const pinned_chunk&) = delete;
    pinned_chunk& operator=(const pinned_chunk&) = delete;
    pinned_chunk& operator=(pinned_chunk&&) = delete;
    /// What failed takes back what it added; all pins end before any bound is re-established: of two passes over one memo
    /// the first to end would else evict what the other one still pins last.
    ~pinned_chunk() {
        for (auto step = m_steps.rbegin(); step != m_steps.rend() && !m_committed; ++step) {
            (*step)->roll_back();
        }
        for (const auto& step : m_steps) {
            step->unpin();
        }
        for (const auto& step : m_steps) {
            step->release();
        }
    }

private:
    template <class, class>
    friend class prefetcher;
    explicit pinned_chunk(std::size_t tables) { m_steps.reserve(tables); }

    std::vector<std::unique_ptr<detail::chunk_step<Object>>> m_steps;
    bool m_committed = false;
};

/// `Object`: any struct or class. `Handles`: `shared_handles` or `raw_pointers`.
template <class Object, class Handles>
class prefetcher final : public detail::row_preparer<Object> {
    static_assert(std::same_as<Handles, shared_handles> || std::same_as<Handles, raw_pointers>);
    static constexpr bool shared = std::same_as<Handles, shared_handles>;

public:
    /// Relations as `to_one` and `to_many` make them. To-one relations to one memo share its fetch.
    template <class... Relations>
    explicit prefetcher(Relations... relations) {
        m_counts.reserve(sizeof...(Relations));
        (add(std::move(relations)), ...);
    }

    /// Attaches every relation to every object of a chunk: a `std::span<Object>`, or any forward range of objects, of pointers
    /// or of smart pointers to them.
    template <class Chunk>
    void process_chunk(Chunk&& chunk) {
        static_assert(shared,
                      "memoized_prefetch: raw pointers are valid under a pin only: keep what pin_chunk returns");
        static_cast<void>(run_range(std::forward<Chunk>(chunk)));
    }
    /// The same; what is attached stays in its memo while what this returns lives.
    template <class Chunk>
    pinned_chunk<Object> pin_chunk(Chunk&& chunk) {
        return run_range(std::forward<Chunk>(chunk));
    }

    /// What each relation did, in the order in which they were given. Queries and evictions are counted by memos and links.
    [[nodiscard]] std::vector<counters> stats() const {
        const std::scoped_lock lock(m_counting);
        return m_counts;
    }
    /// Whether several threads may use it at once, each with objects of its own: all its memos are shared ones.
    [[nodiscard]] bool thread_safe() const noexcept override { return m_thread_safe; }

private:
    template <class Row, class Key, class Traits>
    friend class memo;
    using objects_type = detail::chunk_objects<Object>;

    template <class Memo, class KeyOf, class Attach>
    void add(to_one_relation<Memo, KeyOf, Attach> relation) {
        constexpr bool keyed = key_of_object<KeyOf, Object, typename Memo::key_type>;
        static_assert(
            keyed,
            "memoized_prefetch: the second argument of to_one gives the memo's key, or an optional one, of the object");
        constexpr bool attaches = attaches_row<Attach, Object, typename Memo::row_type>;
        static_assert(
            attaches,
            "memoized_prefetch: the third argument of to_one takes std::shared_ptr<const Row> of the memo's rows");
        constexpr bool pointer = detail::attaches_pointer<Attach, Object, typename Memo::row_type>;
        static_assert(!shared || !pointer,
                      "memoized_prefetch: to attach raw pointers write prefetcher<Object, raw_pointers>");
        if constexpr (keyed && attaches && (!shared || !pointer)) {
            using table = detail::to_one_table<Object, Memo>;
            table* joined = nullptr;
            for (const auto& one : m_tables) {
                if (one->joined_by() == &relation.memo) {
                    joined = static_cast<table*>(one.get());
                }
            }
            if (joined == nullptr) {
                m_tables.push_back(std::make_unique<table>(relation.memo));
                joined = static_cast<table*>(m_tables.back().get());
            }
            joined->add(m_counts.size(), std::move(relation.key_of), std::move(relation.attach));
            m_counts.emplace_back();
            m_thread_safe = m_thread_safe && Memo::thread_safe;
        }
    }
    template <class Links, class KeyOf, class Attach>
    void add(to_many_relation<Links, KeyOf, Attach> relation) {
        constexpr bool keyed = key_of_object<KeyOf, Object, typename Links::source_type>;
        static_assert(keyed,
                      "memoized_prefetch: the second argument of to_many gives the links' source key of the object");
        constexpr bool attaches = attaches_rows<Attach, Object, typename Links::row_type>;
        static_assert(
            attaches,
            "memoized_prefetch: the third argument of to_many takes std::shared_ptr<const Row>s of the memo's rows");
        constexpr bool pointers = detail::attaches_pointers<Attach, Object, typename Links::row_type>;
        static_assert(!shared || !pointers,
                      "memoized_prefetch: to attach raw pointers write prefetcher<Object, raw_pointers>");
        if constexpr (keyed && attaches && (!shared || !pointers)) {
            m_tables.push_back(std::make_unique<detail::to_many_table<Object, Links, KeyOf, Attach>>(
                relation.links, m_counts.size(), std::move(relation.key_of), std::move(relation.attach)));
            m_counts.emplace_back();
            m_thread_safe = m_thread_safe && Links::thread_safe;
        }
    }

    void prepare(std::span<Object* const> rows) override { static_cast<void>(run(objects_type(rows))); }

    template <class Chunk>
    pinned_chunk<Object> run_range(Chunk&& chunk) {
        static_assert(std::ranges::forward_range<Chunk>, "memoized_prefetch: a chunk is a forward range of objects");
        if constexpr (std::ranges::forward_range<Chunk>) {
            using element = std::ranges::range_reference_t<Chunk>;
            constexpr bool by_value = std::same_as<std::remove_cvref_t<element>, Object>;
            static_assert(!by_value || std::is_lvalue_reference_v<Chunk> ||
                              std::ranges::view<std::remove_cvref_t<Chunk>>,
                          "memoized_prefetch: this chunk would be gone with what is attached to it: give it a name");
            if constexpr (std::ranges::contiguous_range<Chunk> && std::same_as<element, Object&>) {
                return run(objects_type(std::span<Object>(chunk)));
            } else {
                return run_pointers(chunk);
            }
        } else {
            std::abort();
        }
    }
    template <class Chunk>
    pinned_chunk<Object> run_pointers(Chunk& chunk) {
        using element = std::ranges::range_reference_t<Chunk>;
        constexpr bool objects = std::is_lvalue_reference_v<element> && std::convertible_to<element, Object&>;
        constexpr bool to_objects = requires(element one) {
            { *one } -> std::convertible_to<Object&>;
        };
        static_assert(objects || to_objects,
                      "memoized_prefetch: a chunk's elements are lvalues of the object type, not "
                      "const, or pointers to such");
        std::vector<Object*> pointers;
        for (auto&& one : chunk) {
            if constexpr (objects) {
                pointers.push_back(&static_cast<Object&>(one));
            } else if constexpr (to_objects) {
                pointers.push_back(&static_cast<Object&>(*one));
            }
        }
        return run(objects_type(std::span<Object* const>(pointers)));
    }

    pinned_chunk<Object> run(const objects_type& objects) {
        pinned_chunk<Object> chunk(m_tables.size());
        for (const auto& table : m_tables) {
            chunk.m_steps.push_back(table->start());
        }
        for (const auto& step : chunk.m_steps) {
            step->resolve(objects);
        }
        for (const auto& step : chunk.m_steps) {
            step->attach(objects);
        }
        {
            const std::scoped_lock lock(m_counting);
            for (const auto& step : chunk.m_steps) {
                step->commit(m_counts);
            }
        }
        chunk.m_committed = true;
        return chunk;
    }

    std::vector<std::unique_ptr<detail::table_relations<Object>>> m_tables;
    std::vector<counters> m_counts;
    mutable std::mutex m_counting; // of several threads that share memos; free otherwise
    bool m_thread_safe = true;
};

} // namespace memoized_prefetch
