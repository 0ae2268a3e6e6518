/// called_model: the instances of a model class with code of its own, which `from_db()` makes of converted values.
#pragma once

#include "row_model.hpp"

#include <variant>
#include <vector>

namespace memoized_prefetch::binding {

class called_model {
public:
    using row = row_values::row;

    /// `plan`: (`from_db`, names of the columns, (position, ...), whether Django picks the columns one by one)
    explicit called_model(nb::handle plan)
        : m_from_db(object_ref::borrow(nb::object(plan[0]).ptr())),
          m_names(object_ref::borrow(nb::object(plan[1]).ptr())), m_picked(nb::cast<bool>(plan[3])) {
        for (nb::handle position : nb::object(plan[2])) {
            m_positions.push_back(nb::cast<Py_ssize_t>(position));
        }
    }

    [[nodiscard]] static bool runs_python() noexcept { return true; }

    [[nodiscard]] object_ref build(const row& values, const result_context& context) const {
        const object_ref columns =
            m_picked ? picked(values) : values.slice(m_positions.front(), m_positions.back() + 1);
        return checked(
            PyObject_CallFunctionObjArgs(m_from_db.get(), context.db.get(), m_names.get(), columns.get(), nullptr));
    }

private:
    [[nodiscard]] object_ref picked(const row& values) const {
        object_ref columns = checked(PyTuple_New(static_cast<Py_ssize_t>(m_positions.size())));
        for (std::size_t at = 0; at < m_positions.size(); ++at) {
            PyTuple_SET_ITEM(columns.get(), static_cast<Py_ssize_t>(at),
                             object_ref::borrow(values[m_positions[at]]).release());
        }
        return columns;
    }

    object_ref m_from_db;
    object_ref m_names;
    std::vector<Py_ssize_t> m_positions;
    bool m_picked;
};

/// The instances of one model class in a result, however they are made.
class any_model {
public:
    /// `plan`: that of a called_model, with four parts, or of a row_model, with three.
    explicit any_model(const nb::tuple& plan)
        : m_model(plan.size() == 4 ? std::variant<row_model, called_model>(called_model(plan))
                                   : std::variant<row_model, called_model>(row_model(plan))) {}

    [[nodiscard]] bool runs_python() const noexcept {
        const auto* stored = std::get_if<row_model>(&m_model);
        return stored == nullptr || stored->runs_python();
    }
    [[nodiscard]] object_ref build(const row_values::row& values, const result_context& context) {
        if (auto* stored = std::get_if<row_model>(&m_model)) {
            return stored->build(values, context);
        }
        return std::get<called_model>(m_model).build(values, context);
    }

private:
    std::variant<row_model, called_model> m_model;
};

} // namespace memoized_prefetch::binding
