/// The rows and objects of the library's side, and what they were given.
#pragma once

#include "program.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace support::program {

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
    std::shared_ptr<const program::author> author{};
    std::shared_ptr<const program::author> translator{};
    std::vector<std::shared_ptr<const category>> categories{};
    std::vector<std::shared_ptr<const program::author>> co_authors{};
    alive counted{};
};
struct raw_book {
    id number = 0;
    std::vector<std::optional<id>> keys{};
    const program::author* author = nullptr;
    std::vector<const category*> categories{};
    alive counted{};
};
struct review {
    id number = 0;
    std::vector<std::optional<id>> keys{};
    std::shared_ptr<const program::book> book{};
    std::shared_ptr<const author> critic{};
    alive counted{};
};

// What objects were given, as numbers: the serials of rows, followed by those of their related rows.
template <class Row>
void show(std::vector<id>& out, const Row* row) {
    out.push_back(row == nullptr ? -1 : row->serial);
    if constexpr (std::same_as<Row, book>) {
        if (row != nullptr) {
            show_attached(out, *row);
        }
    }
}
template <class Rows>
void show_all(std::vector<id>& out, const Rows& rows) {
    out.push_back(static_cast<id>(rows.size()));
    for (const auto& row : rows) {
        show(out, std::to_address(row));
    }
}
inline void show_attached(std::vector<id>& out, const book& one) {
    show(out, one.author.get());
    show_all(out, one.categories);
    show(out, one.translator.get());
    show_all(out, one.co_authors);
}
inline void show_attached(std::vector<id>& out, const raw_book& one) {
    show(out, one.author);
    show_all(out, one.categories);
}
inline void show_attached(std::vector<id>& out, const review& one) {
    show(out, one.book.get());
    show(out, one.critic.get());
}

} // namespace support::program
