/// The naive side: the same memos, links and prefetchers of naive ones, and how they perform an operation.
#pragma once

#include "../naive_memos.hpp"
#include "library.hpp"

#include <memoized_prefetch/memoized_prefetch.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace support::program {

/// `Memo`: as of the library's side, from which it takes which keys share a shard.
template <template <class, class, class> class Memo>
struct oracle {
    static constexpr bool is_shared = library<Memo>::is_shared;
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

    oracle(program::stage& its_stage, const library<Memo>& real, const program::size (&sizes)[program::memos],
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
                return entry_bytes + (row == nullptr ? 0 : size.weight(row->key));
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

} // namespace support::program
