/// relation: `to_one` and `to_many` describe a relation of an object to a prefetcher: where its rows are, which key
/// finds them, and where they are attached.
#pragma once

#include <memoized_prefetch/detail/mapped_span.hpp>
#include <memoized_prefetch/detail/signature.hpp>
#include <memoized_prefetch/passes/key_reading.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace memoized_prefetch {

/// The prefetcher attaches `std::shared_ptr<const Row>` only. You may keep them as long as you like.
struct shared_handles {};
/// The prefetcher may also attach `const Row*`, valid while the result of `pin_chunk` lives. A memo's own rows need
/// `shared_handles`.
struct raw_pointers {};

namespace detail {
template <class Handle>
struct dereference {
    const Handle& operator()(const Handle* handle) const noexcept { return *handle; }
};
} // namespace detail

/// The rows of a to-many relation, in order: a random-access range of `std::shared_ptr<const Row>`, none of them null.
template <class Row>
using target_rows =
    detail::mapped_span<const std::shared_ptr<const Row>*, detail::dereference<std::shared_ptr<const Row>>>;

/// A callable that returns an object's key, as a value or an optional.
template <class KeyOf, class Object, class Key>
concept key_of_object = std::invocable<const KeyOf&, const Object&> &&
    detail::gives_key<std::invoke_result_t<const KeyOf&, const Object&>, Key>;

namespace detail {

template <class Attach, class Object>
struct member {
    using type = undeduced;
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

/// Where to attach the row of a to-one relation: a member `std::shared_ptr<const Row>` or `const Row*`, or a callable
/// that takes the object and one of these.
template <class Attach, class Object, class Row>
concept attaches_row = detail::attaches_pointer<Attach, Object, Row> ||
                       (std::is_assignable_v<detail::member_t<Attach, Object>&, const std::shared_ptr<const Row>&>&&
                            std::is_class_v<detail::member_t<Attach, Object>>) ||
                       std::invocable<const Attach&, Object&, const std::shared_ptr<const Row>&>;

/// Where to attach the rows of a to-many relation: a member container of `std::shared_ptr<const Row>` or `const Row*`,
/// or a callable that takes the object and `target_rows<Row>`.
template <class Attach, class Object, class Row>
concept attaches_rows = detail::attaches_pointers<Attach, Object, Row> ||
                        (std::default_initializable<detail::member_t<Attach, Object>>&&
                             detail::takes_elements<detail::member_t<Attach, Object>, std::shared_ptr<const Row>>) ||
                        std::invocable<const Attach&, Object&, target_rows<Row>>;

/// A relation from an object's key to one row; see `to_one`.
template <class Memo, class KeyOf, class Attach>
struct to_one_relation {
    Memo& memo;
    KeyOf key_of;
    Attach attach;
};
/// A relation from an object's key to the rows linked to it; see `to_many`.
template <class Links, class KeyOf, class Attach>
struct to_many_relation {
    Links& links;
    KeyOf key_of;
    Attach attach;
};

/// `attach` gets the row of `memo` whose key is `key_of(object)`, or a null handle if the key is null or has no row.
template <class Memo, class KeyOf, class Attach>
[[nodiscard]] to_one_relation<Memo, KeyOf, Attach> to_one(Memo& memo, KeyOf key_of, Attach attach) {
    return {memo, std::move(key_of), std::move(attach)};
}
template <class Memo, class KeyOf, class Attach>
void to_one(const Memo&&, KeyOf, Attach) = delete; // a temporary would be destroyed at once

/// `attach` gets the rows linked to the source `key_of(object)`, in the order and with the duplicates of the links. It
/// gets no rows if the key is null.
template <class Links, class KeyOf, class Attach>
[[nodiscard]] to_many_relation<Links, KeyOf, Attach> to_many(Links& links, KeyOf key_of, Attach attach) {
    return {links, std::move(key_of), std::move(attach)};
}
template <class Links, class KeyOf, class Attach>
void to_many(const Links&&, KeyOf, Attach) = delete; // temporaries would be destroyed at once

} // namespace memoized_prefetch
