/// relation_steps: the work of a prefetcher on one chunk in one table. Virtual functions hide the types of memos, links
/// and callables: one call per table and chunk, none per object.
#pragma once

#include <memoized_prefetch/memo_access.hpp>
#include <memoized_prefetch/passes/open_passes.hpp>
#include <memoized_prefetch/passes/to_many_pass.hpp>
#include <memoized_prefetch/passes/to_one_pass.hpp>
#include <memoized_prefetch/relation.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch::detail {

/// The objects of a chunk: an array of objects, or of pointers to them.
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

/// Object model of the passes; see key_reading.hpp.
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

/// The work on one chunk in one table, from its keys to the end of its pins.
template <class Object>
class chunk_step : public open_pass {
public:
    virtual void resolve(const chunk_objects<Object>& objects) = 0;
    virtual void attach(const chunk_objects<Object>& objects) = 0;
    virtual void commit(std::span<counters> relations) noexcept = 0;
};
/// The relations that share a pass: all to-one relations to one memo, or one to-many relation.
template <class Object>
class table_relations {
public:
    table_relations() = default;
    table_relations(const table_relations&) = delete;
    table_relations& operator=(const table_relations&) = delete;
    virtual ~table_relations() = default;
    [[nodiscard]] virtual std::unique_ptr<chunk_step<Object>> start() = 0;
    /// The memo of to-one relations, else null. Further to-one relations to this memo join these.
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

} // namespace memoized_prefetch::detail
