/// Models with code of their own, which builds the instances from converted values; and any_model, for all models.
#pragma once

#include "row_model.hpp"

#include <string_view>
#include <variant>
#include <vector>

namespace memoized_prefetch::binding {

/// A model with a `from_db()` of its own, which is called as by Django.
class called_model {
public:
    using row = row_values::row;

    /// `plan`: ("called", `from_db`, names of the columns, (position, ...), whether Django picks them one by one)
    explicit called_model(nb::handle plan)
        : m_from_db(object_ref::borrow(nb::object(plan[1]).ptr())),
          m_names(object_ref::borrow(nb::object(plan[2]).ptr())), m_picked(nb::cast<bool>(plan[4])) {
        for (nb::handle position : nb::object(plan[3])) {
            m_positions.push_back(nb::cast<Py_ssize_t>(position));
        }
    }

    [[nodiscard]] static bool runs_user_code() noexcept { return true; }

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

/// A model with Django's `from_db()`, and other code of its own: the class is called here, as `from_db()` would.
/// Without the frame of `from_db()`, a row of eight columns takes 0.4 us less.
class constructed_model {
public:
    using row = row_values::row;

    /// `plan`: ("constructed", class, (position or None, ...), what stands for a deferred value)
    explicit constructed_model(nb::handle plan)
        : m_type(object_ref::borrow(nb::object(plan[1]).ptr())),
          m_deferred(object_ref::borrow(nb::object(plan[3]).ptr())) {
        for (nb::handle position : nb::object(plan[2])) {
            m_positions.push_back(position.is_none() ? deferred : nb::cast<Py_ssize_t>(position));
        }
    }

    [[nodiscard]] static bool runs_user_code() noexcept { return true; }

    [[nodiscard]] object_ref build(const row& values, const result_context& context) const {
        py_vector<PyObject*> arguments;
        arguments.reserve(m_positions.size());
        for (const Py_ssize_t position : m_positions) {
            arguments.push_back(position == deferred ? m_deferred.get() : values[position]);
        }
        object_ref made = checked(PyObject_Vectorcall(m_type.get(), arguments.data(), arguments.size(), nullptr));
        set_state(made, in_state.adding, Py_False);
        set_state(made, interned.db, context.db.get());
        if (context.fetch_mode) {
            set_state(made, in_state.fetch_mode, context.fetch_mode.get());
        }
        return made;
    }

private:
    static constexpr Py_ssize_t deferred = -1;

    static void set_state(const object_ref& made, PyObject* name, PyObject* value) {
        const object_ref state = checked(PyObject_GetAttr(made.get(), interned.state));
        checked(PyObject_SetAttr(state.get(), name, value));
    }

    object_ref m_type;
    object_ref m_deferred;
    std::vector<Py_ssize_t> m_positions;
};

/// The instances of one model class in a result, however they are made.
class any_model {
public:
    /// `plan`: that of one of the three kinds; its name comes first.
    explicit any_model(const nb::tuple& plan) : m_model(made_of(plan)) {}

    [[nodiscard]] bool runs_user_code() const {
        return std::visit([](const auto& model) { return model.runs_user_code(); }, m_model);
    }
    [[nodiscard]] object_ref build(const row_values::row& values, const result_context& context) {
        if (auto* stored = std::get_if<row_model>(&m_model)) { // the usual kind first
            return stored->build(values, context);
        }
        return std::visit([&](auto& model) { return model.build(values, context); }, m_model);
    }

private:
    using any = std::variant<row_model, called_model, constructed_model>;

    [[nodiscard]] static any made_of(const nb::tuple& plan) {
        const std::string_view kind = nb::cast<const char*>(plan[0]);
        if (kind == "stored") {
            return row_model(plan);
        }
        if (kind == "called") {
            return called_model(plan);
        }
        return constructed_model(plan);
    }

    any m_model;
};

} // namespace memoized_prefetch::binding
