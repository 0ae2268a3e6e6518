/// py_key: any hashable Python object as a key. Its hash is computed once, before any table is searched.
#pragma once

#include "object_ref.hpp"

#include <memoized_prefetch/detail/compiler.hpp>

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#endif

#include <cstdint>

namespace memoized_prefetch::binding {

/// uuid.UUID. Its `__hash__` and `__eq__` are those of the int in its slot, but written in Python: they take 320 and
/// 260 ns, the int's take 60 and 30. `type` is null if the class is not as expected.
struct uuid_class {
    PyTypeObject* type = nullptr;
    Py_ssize_t offset = 0; // of the slot

    /// The int of an exact UUID, borrowed; else null.
    [[nodiscard]] PyObject* number_of(PyObject* object) const noexcept {
        if (Py_TYPE(object) != type) {
            return nullptr;
        }
        PyObject* number = *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + offset);
        return number != nullptr && PyLong_CheckExact(number) ? number : nullptr;
    }
};
extern uuid_class uuids;
void find_uuid_class();

/// Where instances of a class have one of its `__slots__`, in bytes; 0 if the attribute is none.
[[nodiscard]] Py_ssize_t offset_of_slot(PyObject* cls, const char* name);

struct py_key {
    object_ref object;
    /// The hash, shifted left by one bit. The lowest bit says whether the key is an exact int that is its own hash. Two
    /// such keys are equal if their words are, so comparing them does not read the objects: one cache miss less per
    /// look-up.
    std::uint64_t word = 0;

    /// Hashes the object; its `__hash__` may raise.
    static py_key of(object_ref object) {
        if (PyLong_CheckExact(object.get())) {
            // int.__hash__ returns the int modulo this, and never -1.
            constexpr auto modulus = static_cast<long long>(_PyHASH_MODULUS);
            int overflow = 0;
            const long long value = PyLong_AsLongLongAndOverflow(object.get(), &overflow); // -1 on overflow
            if (value != -1 && -modulus < value && value < modulus) {
                return {std::move(object), static_cast<std::uint64_t>(value) << 1U | 1U};
            }
        }
        return of_any(std::move(object));
    }

private:
    MEMOIZED_PREFETCH_NOINLINE static py_key of_any(object_ref object) {
        PyObject* number = uuids.number_of(object.get());
        const Py_hash_t hash = PyObject_Hash(number == nullptr ? object.get() : number);
        if (hash == -1) {
            throw_python_error();
        }
        return {std::move(object), static_cast<std::uint64_t>(hash) << 1U};
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
    MEMOIZED_PREFETCH_NOINLINE static bool equal_by_python(PyObject* left, PyObject* right) {
        PyObject* left_number = uuids.number_of(left);
        PyObject* right_number = uuids.number_of(right);
        if (left_number != nullptr && right_number != nullptr) {
            return checked(PyObject_RichCompareBool(left_number, right_number, Py_EQ)) != 0;
        }
        // `__eq__` may change the table that holds `stored`, so both sides are owned while it runs.
        const object_ref own_left = object_ref::borrow(left);
        const object_ref own_right = object_ref::borrow(right);
        return checked(PyObject_RichCompareBool(left, right, Py_EQ)) != 0;
    }
};

} // namespace memoized_prefetch::binding
