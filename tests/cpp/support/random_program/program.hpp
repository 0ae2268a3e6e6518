/// The program: the operations that both sides perform, one after another, and the database that they read meanwhile.
#pragma once

#include "../naive_memos/table.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace support::program {

namespace mp = memoized_prefetch;

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
    std::size_t unit = 10; // of the rows' weights

    [[nodiscard]] std::size_t weight(id key) const { return static_cast<std::size_t>(key % 4) * unit; }
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

} // namespace support::program
