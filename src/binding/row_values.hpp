/// row_values: the columns of a result's rows, one row at a time, converted as Django's compiler converts them.
#pragma once

#include "collector_pause.hpp"
#include "conversions.hpp"
#include "object_ref.hpp"
#include "py_allocator.hpp"

#include <utility>

namespace memoized_prefetch::binding {

/// The converters of one column. Django calls each with the value that the one before it returned.
class column_converter {
public:
    /// `spec`: (position, expression, [(function, conversion or None), ...])
    explicit column_converter(nb::handle spec)
        : m_position(nb::cast<Py_ssize_t>(spec[0])), m_expression(object_ref::borrow(nb::object(spec[1]).ptr())) {
        for (nb::handle function : nb::object(spec[2])) {
            m_steps.push_back({object_ref::borrow(nb::object(function[0]).ptr()), conversion(nb::object(function[1]))});
        }
    }

    [[nodiscard]] Py_ssize_t position() const noexcept { return m_position; }

    /// Whether every conversion is known. Even so, Django's functions may have to be called for some values.
    [[nodiscard]] bool is_known() const noexcept {
        bool all = true;
        for (const step& one : m_steps) {
            all = all && one.native.is_known();
        }
        return all;
    }

    /// Ends the pause before Python code runs.
    [[nodiscard]] object_ref convert(PyObject* given, PyObject* connection, collector_pause& pause) const {
        object_ref value = object_ref::borrow(given);
        for (const step& one : m_steps) {
            object_ref converted = one.native(value.get());
            if (!converted) {
                pause.end();
                converted = checked(PyObject_CallFunctionObjArgs(one.function.get(), value.get(), m_expression.get(),
                                                                 connection, nullptr));
            }
            value = std::move(converted);
        }
        return value;
    }

private:
    struct step {
        object_ref function;
        conversion native;
    };

    Py_ssize_t m_position;
    object_ref m_expression;
    py_vector<step> m_steps;
};

class row_values {
public:
    /// `converters`: a spec for each column that has any; see column_converter.
    row_values(nb::handle converters, nb::handle connection) : m_connection(object_ref::borrow(connection.ptr())) {
        for (nb::handle spec : converters) {
            m_converters.emplace_back(spec);
        }
    }

    /// Whether all conversions are known to the engine.
    [[nodiscard]] bool is_known() const noexcept {
        bool all = true;
        for (const column_converter& one : m_converters) {
            all = all && one.is_known();
        }
        return all;
    }

    /// One row after another. It must not outlive the row_values.
    class row {
    public:
        explicit row(const row_values& of) : m_of(&of) {}

        /// Takes and converts the next row. Ends the pause before Python code runs.
        void read(PyObject* given, collector_pause& pause) {
            m_given = object_ref::borrow(given);
            if (!PyTuple_Check(given)) {
                m_copy = checked(PySequence_Tuple(given)); // which nobody can change
                given = m_copy.get();
            }
            m_items = &PyTuple_GET_ITEM(given, 0);
            m_size = PyTuple_GET_SIZE(given);
            if (!m_of->m_converters.empty()) {
                convert(pause);
            }
        }

        /// The value of a column, borrowed.
        [[nodiscard]] PyObject* operator[](Py_ssize_t position) const {
            if (position >= m_size) {
                PyErr_Format(PyExc_IndexError, "a row has %zd columns, more than %zd were expected", m_size, position);
                throw_python_error();
            }
            return m_items[position];
        }

        /// The row as Django hands it on: the driver's own, or a list if values are converted.
        [[nodiscard]] object_ref as_object() {
            if (!m_list && is_converted()) {
                m_list = slice(0, m_size);
            }
            return m_list ? m_list : m_given;
        }

        /// Some of its columns, in an object of the same type.
        [[nodiscard]] object_ref slice(Py_ssize_t first, Py_ssize_t end) const {
            if (!is_converted()) {
                return checked(PySequence_GetSlice(m_given.get(), first, end));
            }
            object_ref list = checked(PyList_New(end - first));
            for (Py_ssize_t at = first; at < end; ++at) {
                PyList_SET_ITEM(list.get(), at - first, object_ref::borrow((*this)[at]).release());
            }
            return list;
        }

    private:
        [[nodiscard]] bool is_converted() const noexcept { return !m_of->m_converters.empty(); }

        void convert(collector_pause& pause) {
            m_list = object_ref();
            m_values.assign(m_items, m_items + m_size);
            m_converted.clear();
            for (const column_converter& one : m_of->m_converters) {
                m_converted.push_back(one.convert((*this)[one.position()], m_of->m_connection.get(), pause));
                m_values[static_cast<std::size_t>(one.position())] = m_converted.back().get();
            }
            m_items = m_values.data();
        }

        const row_values* m_of;
        object_ref m_given;
        object_ref m_copy;                  // of a row that is no tuple
        PyObject* const* m_items = nullptr; // of m_given or m_copy, or m_values if anything is converted
        Py_ssize_t m_size = 0;
        py_vector<PyObject*> m_values;
        py_vector<object_ref> m_converted;
        object_ref m_list;
    };

private:
    object_ref m_connection;
    py_vector<column_converter> m_converters;
};

} // namespace memoized_prefetch::binding
