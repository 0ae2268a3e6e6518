/// signature: deduces what a callable takes and returns, for member pointers, functions, and objects with one
/// `operator()`.
#pragma once

#include <type_traits>

namespace memoized_prefetch::detail {

/// Stands for a type that cannot be deduced, because the callable is generic or overloaded.
struct undeduced {
    undeduced() = delete;
};

template <class Result, class Argument>
struct one_argument {
    using result = std::remove_cvref_t<Result>;
    using argument = std::remove_cvref_t<Argument>;
};

template <class Function>
struct member_signature : one_argument<undeduced, undeduced> {};
template <class Result, class Class, class Argument>
struct member_signature<Result (Class::*)(Argument)> : one_argument<Result, Argument> {};
template <class Result, class Class, class Argument>
struct member_signature<Result (Class::*)(Argument) const> : one_argument<Result, Argument> {};
template <class Result, class Class, class Argument>
struct member_signature<Result (Class::*)(Argument) noexcept> : one_argument<Result, Argument> {};
template <class Result, class Class, class Argument>
struct member_signature<Result (Class::*)(Argument) const noexcept> : one_argument<Result, Argument> {};

template <class Callable>
struct signature : one_argument<undeduced, undeduced> {};
template <class Callable>
requires requires { &Callable::operator(); }
struct signature<Callable> : member_signature<decltype(&Callable::operator())> {};
template <class Result, class Argument>
struct signature<Result (*)(Argument)> : one_argument<Result, Argument> {};
template <class Result, class Argument>
struct signature<Result (*)(Argument) noexcept> : one_argument<Result, Argument> {};
template <class Result, class Class>
requires std::is_object_v<Result>
struct signature<Result Class::*> : one_argument<Result, Class> {
};
template <class Result, class Class>
struct signature<Result (Class::*)() const> : one_argument<Result, Class> {};
template <class Result, class Class>
struct signature<Result (Class::*)() const noexcept> : one_argument<Result, Class> {};

} // namespace memoized_prefetch::detail
