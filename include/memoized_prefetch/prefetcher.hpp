/// \file
/// prefetcher: attaches related rows to the objects of a chunk.
///
///     prefetcher<Book> books{to_one(authors, &Book::author_id, &Book::author),
///                            to_many(book_categories, &Book::id, &Book::categories)};
///     books.process_chunk(chunk);
///
/// Per chunk, all to-one relations to one memo cost one call of its fetch callback. A to-many relation costs one call
/// of the links' callback and one of their memo's. Nothing is called if all is remembered. Everything is fetched before
/// anything is attached: if a callback throws, no object has been changed, and the memos are as before.
///
/// A prefetcher refers to its memos and links. They have to outlive it and do not move.
#pragma once

#include <memoized_prefetch/links.hpp>
#include <memoized_prefetch/relation_steps.hpp>

#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace memoized_prefetch {

/// The rows of a chunk, pinned: they stay in their memos while this lives. Must not outlive the prefetcher and its
/// memos.
template <class Object>
class [[nodiscard]] pinned_chunk {
public:
    pinned_chunk(pinned_chunk&&) noexcept = default;
    pinned_chunk(const pinned_chunk&) = delete;
    pinned_chunk& operator=(const pinned_chunk&) = delete;
    pinned_chunk& operator=(pinned_chunk&&) = delete;
    ~pinned_chunk() = default;

private:
    template <class, class>
    friend class prefetcher;
    explicit pinned_chunk(std::size_t tables) { m_passes.reserve_more(tables); }

    open_passes m_passes;
};

/// Attaches rows to objects. `Object`: any struct or class. `Handles`: `shared_handles` or `raw_pointers`.
template <class Object, class Handles>
class prefetcher final : public detail::row_preparer<Object> {
    static_assert(std::same_as<Handles, shared_handles> || std::same_as<Handles, raw_pointers>);
    static constexpr bool shared = std::same_as<Handles, shared_handles>;

public:
    /// Takes relations made by `to_one` and `to_many`. To-one relations to one memo share its fetch.
    template <class... Relations>
    explicit prefetcher(Relations... relations) {
        m_counts.reserve(sizeof...(Relations));
        (add(std::move(relations)), ...);
    }

    /// Attaches the rows of every relation to every object of a chunk: a `std::span<Object>`, or any forward range of
    /// objects, of pointers or of smart pointers to them.
    template <class Chunk>
    void process_chunk(Chunk&& chunk) {
        static_assert(shared,
                      "memoized_prefetch: raw pointers are valid under a pin only: keep what pin_chunk returns");
        static_cast<void>(run_range(std::forward<Chunk>(chunk)));
    }
    /// The same. The attached rows stay in their memos while the returned object lives.
    template <class Chunk>
    pinned_chunk<Object> pin_chunk(Chunk&& chunk) {
        return run_range(std::forward<Chunk>(chunk));
    }

    /// What each relation did, in the order of the constructor. Memos and links count queries and evictions.
    [[nodiscard]] std::vector<counters> stats() const {
        const std::scoped_lock lock(m_counting);
        return m_counts;
    }
    /// Whether several threads may use this at once, each with its own objects. They may if all its memos are shared
    /// ones.
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

    /// Steps that are not committed. They have failed if this is destroyed before.
    struct running_steps {
        explicit running_steps(open_passes& of_chunk) noexcept : passes(of_chunk) {}
        running_steps(const running_steps&) = delete;
        running_steps& operator=(const running_steps&) = delete;
        ~running_steps() {
            for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
                passes.add_failed(std::move(*step));
            }
        }
        open_passes& passes;
        std::vector<std::unique_ptr<detail::chunk_step<Object>>> steps;
    };

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
        running_steps running(chunk.m_passes);
        running.steps.reserve(m_tables.size());
        for (const auto& table : m_tables) {
            running.steps.push_back(table->start());
        }
        for (const auto& step : running.steps) {
            step->resolve(objects);
        }
        for (const auto& step : running.steps) {
            step->attach(objects);
        }
        const std::scoped_lock lock(m_counting);
        for (auto& step : running.steps) {
            step->commit(m_counts);
            chunk.m_passes.add(std::move(step));
        }
        running.steps.clear();
        return chunk;
    }

    std::vector<std::unique_ptr<detail::table_relations<Object>>> m_tables;
    std::vector<counters> m_counts;
    mutable std::mutex m_counting; // for threads that share memos; never contended otherwise
    bool m_thread_safe = true;
};

} // namespace memoized_prefetch
