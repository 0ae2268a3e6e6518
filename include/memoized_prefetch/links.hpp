/// \file
/// links: which rows of a memo belong to a source, such as the categories of a book.
///
///     source keys -> [ memory | one call of the fetch callback ] -> target keys in order -> rows of the memo
///
/// A source without links is remembered too. The memo must outlive its links. Links cannot be copied or moved.
#pragma once

#include <memoized_prefetch/memo.hpp>
#include <memoized_prefetch/tables/link_table.hpp>

namespace memoized_prefetch {

/// How many sources are kept between chunks; `unbounded` for no limit.
struct links_size {
    /// Sources, also those without links.
    std::size_t entries = default_entries;
};

/// A callback that takes the distinct source keys that are not in memory. It returns a range of pairs, or of anything
/// else that decomposes into a source key and a target key, with the links of each source in order.
template <class Fetch, class Source>
concept fetches_links = std::invocable<Fetch&, std::span<const Source>> &&
    std::ranges::input_range<std::invoke_result_t<Fetch&, std::span<const Source>>>;

namespace detail {

/// The user's fetch callback behind a virtual function, to erase its type.
template <class Source, class Target>
class link_reader {
public:
    using take_link = function_ref<void(Source, Target)>;

    link_reader() = default;
    link_reader(const link_reader&) = delete;
    link_reader& operator=(const link_reader&) = delete;
    virtual ~link_reader() = default;
    virtual void fetch(std::span<const Source> asked, take_link take) = 0;
};

template <class Source, class Target, class Fetch>
class link_reader_of final : public link_reader<Source, Target> {
public:
    explicit link_reader_of(Fetch callback) : m_fetch(std::move(callback)) {}
    void fetch(std::span<const Source> asked, typename link_reader<Source, Target>::take_link take) override {
        auto&& links = std::invoke(m_fetch, asked);
        for (auto&& link : links) {
            auto&& [source, target] = link;
            static_assert(converts_to_key<decltype(source)&, Source> && converts_to_key<decltype(target)&, Target>,
                          "memoized_prefetch: the fetch callback of links must return pairs of a source key and a key "
                          "of the memo");
            take(Source(source), Target(target));
        }
    }

private:
    Fetch m_fetch;
};

template <class Span>
struct element_of_span {
    using type = undeduced;
};
template <class Element, std::size_t Extent>
struct element_of_span<std::span<Element, Extent>> {
    using type = std::remove_const_t<Element>;
};

} // namespace detail

/// The links from sources to rows of a memo. `Source` is deduced from the callback's argument, a
/// `std::span<const Source>`, unless the callback is generic. `Memo`: the memo of the targets.
template <class Source, class Memo, class Traits = key_traits<Source>>
class links {
    static_assert(
        !std::same_as<Source, detail::undeduced>,
        "memoized_prefetch: cannot deduce the source key from this callback: let it take std::span<const Source>");
    static_assert(
        std::same_as<Source, detail::undeduced> || memo_key<Source, Traits>,
        "memoized_prefetch: a key must be default-constructible and copyable, with key_traits (std::hash and ==)");

public:
    using source_type = Source;
    using target_type = typename Memo::key_type;
    using row_type = typename Memo::row_type;
    using handle_type = typename Memo::handle_type;
    using memo_type = Memo;
    using table_type = link_table<Source, target_type, Traits>;
    static constexpr bool thread_safe = false;

    /// `fetch`: see `fetches_links`. Links whose source was not asked for are dropped.
    template <class Fetch>
    links(Fetch fetch, Memo& targets, links_size size = {})
        : m_targets(targets), m_reader(reader_of(std::move(fetch))), m_table(size.entries) {}
    template <class Fetch>
    links(Fetch, Memo&&, links_size = {}) = delete; // a temporary would be destroyed at once

    links(const links&) = delete;
    links& operator=(const links&) = delete;
    ~links() {
        if (m_table.passes() != 0) {
            detail::fatal("memoized_prefetch: links were destroyed while some of them were pinned");
        }
    }

    /// The memo of the targets.
    [[nodiscard]] Memo& targets() const noexcept { return m_targets; }

    /// Forgets the source's links, or that it has none. O(its links).
    void invalidate(const Source& source) {
        check_not_in_callback();
        m_table.forget_key(source); // first, as it may throw
        m_table.next_generation();
        m_table.reclaim();
    }
    /// Forgets all links, but no rows of the memo. O(size).
    void clear() {
        check_not_in_callback();
        m_table.clear();
    }

    /// Keys are sources here; `fetched` counts links.
    [[nodiscard]] memo_stats stats() const noexcept {
        memo_stats result{m_count};
        detail::add_table(result, m_table);
        return result;
    }

private:
    friend detail::memo_access;
    using reader = detail::link_reader<Source, target_type>;

    template <class Fetch>
    static std::unique_ptr<reader> reader_of(Fetch fetch) {
        constexpr bool fetches = fetches_links<Fetch, Source>;
        static_assert(fetches, "memoized_prefetch: the fetch callback of links takes std::span<const Source> and "
                               "returns a range of links");
        if constexpr (fetches) {
            return std::make_unique<detail::link_reader_of<Source, target_type, Fetch>>(std::move(fetch));
        } else {
            return nullptr;
        }
    }

    void check_not_in_callback() const {
        if (m_in_callback) {
            detail::logic_violation("memoized_prefetch: a fetch callback used the links that called it");
        }
    }
    void count(const counters& more) noexcept { m_count += more; }

    /// Link source of to_many_pass.
    struct link_source {
        links* self;
        template <class Take>
        void fetch(const std::vector<Source>& asked, Take&& take) {
            const detail::callback_guard guard(self->m_in_callback);
            ++self->m_count.queries;
            self->m_reader->fetch(asked, take);
        }
    };
    [[nodiscard]] link_source source() noexcept { return {this}; }

    Memo& m_targets;
    std::unique_ptr<reader> m_reader;
    table_type m_table;
    counters m_count;
    bool m_in_callback = false;
};

template <class Fetch, class Memo>
links(Fetch, Memo&, links_size = {})
    -> links<typename detail::element_of_span<typename detail::signature<Fetch>::argument>::type, Memo>;
template <class Fetch, class Memo>
links(Fetch, Memo&&, links_size = {})
    -> links<typename detail::element_of_span<typename detail::signature<Fetch>::argument>::type, Memo>;

} // namespace memoized_prefetch
