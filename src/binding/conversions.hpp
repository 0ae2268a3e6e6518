/// conversion: what one of Django's own converters does with a value of the driver, without a call of Python code.
#pragma once

#include "json_text.hpp"
#include "object_ref.hpp"

#include <cstdint>

namespace memoized_prefetch::binding {

/// One of Django's converters. Each conversion knows only values of exact built-in types whose text or range it can
/// tell; whatever else comes is left to Django's function, so errors and odd values stay Django's.
class conversion {
public:
    /// `spec`: its name and details, as `_stock_converters.py` makes it; or None for a converter that is not known.
    explicit conversion(nb::handle spec);

    /// The converted value; null, with no error set, if it has to be left to Django's function.
    [[nodiscard]] object_ref operator()(PyObject* value) const;

    [[nodiscard]] bool is_known() const noexcept { return m_kind != kind::none; }

private:
    enum class kind : std::uint8_t { none, boolean, uuid, date, time, datetime, duration, decimal, json, unchanged };

    [[nodiscard]] static kind named(nb::handle name);
    [[nodiscard]] object_ref datetime_of(PyObject* value) const;
    [[nodiscard]] object_ref decimal_of(PyObject* value) const;
    [[nodiscard]] object_ref decimal_text(std::int64_t number) const;
    [[nodiscard]] object_ref json_of(PyObject* value) const;

    kind m_kind = kind::none;
    bool m_reads_text = false; // datetime
    int m_places = 0;          // decimal
    std::int64_t m_limit = 0;  // decimal: 10 to the number of digits it may have
    std::int64_t m_scale = 1;  // decimal: 10 to the number of places
    bool m_is_plain = false;   // json: the scanner has no hooks
    mutable json_keys m_keys;  // json
    object_ref m_object;       // datetime: the time zone or null; decimal: its class; json: the scanner;
                               // unchanged: the type
};

/// Imports what the conversions need. Call it once, before any other use.
void prepare_conversions();

} // namespace memoized_prefetch::binding
