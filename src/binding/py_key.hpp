/// py_key: any hashable Python object as a key, with its hash, which is computed once, before any table is searched.
#pragma once

#include "object_ref.hpp"

#include <cstdint>

namespace memoized_prefetch::binding {

struct py_key {
    object_ref object;
    /// The hash, shifted up by one bit, which says whether the key is an exact int that is its own hash. Two such keys are
    /// equal when these words are, so that comparing them reads no memory of the objects: a cache miss per look-up less.
    std::uint64_t word = 0;

    /// Hashes the object; its `__hash__` may raise.
    static py_key of(object_ref object) {
        const Py_hash_t hash = PyObject_Hash(object.get());
        if (hash == -1) {
            throw_python_error();
        }
        bool own_hash = false;
        if (PyLong_CheckExact(object.get())) {
            int overflow = 0;
            const long long value = PyLong_AsLongLongAndOverflow(object.get(), &overflow);
            own_hash = overflow == 0 && value == hash; // not so for -1, and beyond 2**61 - 2
        }
        return {std::move(object), static_cast<std::uint64_t>(hash) << 1U | static_cast<std::uint64_t>(own_hash)};
    }
};

/// Keys are compared as a dict compares them: `1 == True == Decimal(1)`, and an object always equals itself.
struct py_key_traits {
    static std::uint64_t hash(const py_key& key) noexcept { return key.word >> 1U; }

    static bool equal(const py_key& stored, const py_key& asked) {
        constexpr std::uint64_t own_hash = 1;
        if ((stored.word & asked.word & own_hash) != 0) {
            return stored.word == asked.word;
        }
        if ((stored.word ^ asked.word) > own_hash) {
            return false; // the hashes differ
        }
        PyObject* left = stored.object.get();
        PyObject* right = asked.object.get();
        if (left == right) {
            return true;
        }
        if ((PyLong_CheckExact(left) && PyLong_CheckExact(right)) ||
            (PyUnicode_CheckExact(left) && PyUnicode_CheckExact(right))) {
            return checked(PyObject_RichCompareBool(left, right, Py_EQ)) != 0; // runs no Python code
        }
        return equal_by_python(left, right);
    }

private:
    [[gnu::noinline]] static bool equal_by_python(PyObject* left, PyObject* right) {
        // `__eq__` may change the table that `stored` lies in: both sides are owned while it runs.
        const object_ref own_left = object_ref::borrow(left);
        const object_ref own_right = object_ref::borrow(right);
        return checked(PyObject_RichCompareBool(left, right, Py_EQ)) != 0;
    }
};

} // namespace memoized_prefetch::binding
