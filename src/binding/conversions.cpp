#include "conversions.hpp"

#include "date_text.hpp"
#include "py_key.hpp"

#include <datetime.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace memoized_prefetch::binding {

namespace {

PyObject* unknown_safety = nullptr; // uuid.SafeUUID.unknown
Py_ssize_t safety_offset = 0;       // of the slot `is_safe` of a UUID; 0 if UUID is not as expected

/// The characters of an exact str without any beyond ASCII; nothing for other values.
std::optional<std::string_view> ascii_text(PyObject* value) noexcept {
    if (!PyUnicode_CheckExact(value) || !PyUnicode_IS_COMPACT_ASCII(value)) {
        return std::nullopt;
    }
    return std::string_view(reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(value)),
                            static_cast<std::size_t>(PyUnicode_GET_LENGTH(value)));
}

/// 32 hexadecimal digits, or with hyphens after 8, 12, 16 and 20 of them.
std::optional<std::array<unsigned char, 16>> read_uuid(std::string_view text) noexcept {
    constexpr std::array<std::size_t, 4> hyphens{8, 13, 18, 23};
    const bool has_hyphens = text.size() == 36;
    if (text.size() != 32 && !has_hyphens) {
        return std::nullopt;
    }
    std::array<unsigned char, 16> bytes{};
    std::size_t digits = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (has_hyphens && std::find(hyphens.begin(), hyphens.end(), at) != hyphens.end()) {
            if (c != '-') {
                return std::nullopt;
            }
            continue;
        }
        unsigned char digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<unsigned char>(c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = static_cast<unsigned char>((c | 0x20) - 'a' + 10);
        } else {
            return std::nullopt;
        }
        bytes.at(digits / 2) = static_cast<unsigned char>(bytes.at(digits / 2) << 4U | digit);
        ++digits;
    }
    return bytes;
}

object_ref uuid_of(PyObject* value) {
    const auto text = ascii_text(value);
    const auto bytes = text && safety_offset != 0 ? read_uuid(*text) : std::nullopt;
    if (!bytes) {
        return {};
    }
#if PY_VERSION_HEX >= 0x030D0000
    object_ref number =
        checked(PyLong_FromUnsignedNativeBytes(bytes->data(), bytes->size(), Py_ASNATIVEBYTES_BIG_ENDIAN));
#else
    object_ref number = checked(_PyLong_FromByteArray(bytes->data(), bytes->size(), 0, 0));
#endif
    object_ref made = checked(uuids.type->tp_alloc(uuids.type, 0));
    // Written to the slots, because UUID refuses assignments. UUID() itself goes round that by object.__setattr__.
    const auto slot = [&](Py_ssize_t offset) {
        return reinterpret_cast<PyObject**>(reinterpret_cast<char*>(made.get()) + offset);
    };
    *slot(uuids.offset) = number.release();
    *slot(safety_offset) = object_ref::borrow(unknown_safety).release();
    return made;
}

/// `bool(value) if value in (1, 0) else value`.
object_ref boolean_of(PyObject* value) {
    if (PyBool_Check(value)) {
        return object_ref::borrow(value);
    }
    if (!PyLong_CheckExact(value)) {
        return {};
    }
    int overflow = 0;
    const long number = PyLong_AsLongAndOverflow(value, &overflow);
    const bool is_boolean = overflow == 0 && (number == 0 || number == 1);
    return object_ref::borrow(!is_boolean ? value : number == 1 ? Py_True : Py_False);
}

object_ref date_of(PyObject* value) {
    if (PyDate_CheckExact(value)) {
        return object_ref::borrow(value);
    }
    const auto text = ascii_text(value);
    day date;
    if (!text || text->size() != 10) {
        return {};
    }
    digit_reader reader(*text);
    return read_day(reader, date) ? checked(PyDate_FromDate(date.year, date.month, date.number)) : object_ref();
}

object_ref time_of(PyObject* value) {
    if (PyTime_CheckExact(value)) {
        return object_ref::borrow(value);
    }
    const auto text = ascii_text(value);
    if (!text) {
        return {};
    }
    digit_reader reader(*text);
    clock_time time;
    return read_time(reader, time) ? checked(PyTime_FromTime(time.hour, time.minute, time.second, time.microsecond))
                                   : object_ref();
}

/// `timedelta(0, 0, value)`, from a number of microseconds.
object_ref duration_of(PyObject* value) {
    if (!PyLong_CheckExact(value)) {
        return {};
    }
    int overflow = 0;
    const long long microseconds = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
        return {};
    }
    constexpr long long per_second = 1'000'000;
    constexpr long long per_day = 86'400 * per_second;
    long long days = microseconds / per_day;
    long long rest = microseconds % per_day;
    if (rest < 0) {
        rest += per_day;
        --days;
    }
    return checked(PyDelta_FromDSU(static_cast<int>(days), static_cast<int>(rest / per_second),
                                   static_cast<int>(rest % per_second)));
}

constexpr std::int64_t power_of_ten(int exponent) noexcept {
    std::int64_t power = 1;
    for (int i = 0; i < exponent; ++i) {
        power *= 10;
    }
    return power;
}
constexpr int most_digits = 15; // that SQLite keeps of a number, and Django of SQLite's

} // namespace

conversion::kind conversion::named(nb::handle name) {
    constexpr std::array<std::pair<std::string_view, kind>, 9> names{{
        {"boolean", kind::boolean},
        {"uuid", kind::uuid},
        {"date", kind::date},
        {"time", kind::time},
        {"datetime", kind::datetime},
        {"duration", kind::duration},
        {"decimal", kind::decimal},
        {"json", kind::json},
        {"unchanged", kind::unchanged},
    }};
    const auto text = ascii_text(name.ptr());
    for (const auto& [known, kind] : names) {
        if (text && *text == known) {
            return kind;
        }
    }
    throw nb::value_error("unknown conversion");
}

conversion::conversion(nb::handle spec) {
    if (spec.is_none()) {
        return;
    }
    m_kind = named(nb::object(spec[0]));
    if (m_kind == kind::datetime) {
        const nb::object zone(spec[1]);
        m_object = zone.is_none() ? object_ref() : object_ref::borrow(zone.ptr());
        m_reads_text = nb::cast<bool>(spec[2]);
    } else if (m_kind == kind::decimal) {
        m_object = object_ref::borrow(nb::object(spec[1]).ptr());
        m_places = nb::cast<int>(spec[2]);
        const int digits = nb::cast<int>(spec[3]);
        if (m_places < 0 || m_places > most_digits || digits < 1) {
            throw nb::value_error("a decimal needs 0 to 15 places and at least one digit");
        }
        m_scale = power_of_ten(m_places);
        m_limit = power_of_ten(std::min(digits, most_digits));
    } else if (m_kind == kind::json || m_kind == kind::unchanged) {
        m_object = object_ref::borrow(nb::object(spec[1]).ptr());
        m_is_plain = m_kind == kind::json && nb::cast<bool>(spec[2]);
    }
}

object_ref conversion::operator()(PyObject* value) const {
    if (m_kind == kind::none) {
        return {};
    }
    if (value == Py_None) { // for all of them
        return object_ref::borrow(value);
    }
    switch (m_kind) {
    case kind::none:
        return {};
    case kind::boolean:
        return boolean_of(value);
    case kind::uuid:
        return uuid_of(value);
    case kind::date:
        return date_of(value);
    case kind::time:
        return time_of(value);
    case kind::datetime:
        return datetime_of(value);
    case kind::duration:
        return duration_of(value);
    case kind::decimal:
        return decimal_of(value);
    case kind::json:
        return json_of(value);
    case kind::unchanged:
        return reinterpret_cast<PyObject*>(Py_TYPE(value)) == m_object.get() ? object_ref::borrow(value) : object_ref();
    }
    return {};
}

/// A naive datetime gets the time zone of the connection, if there is one.
object_ref conversion::datetime_of(PyObject* value) const {
    day date;
    clock_time time;
    int fold = 0;
    if (PyDateTime_CheckExact(value)) {
        if (reinterpret_cast<PyDateTime_DateTime*>(value)->hastzinfo != 0) {
            return {};
        }
        if (!m_object) {
            return object_ref::borrow(value);
        }
        date = {PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value)};
        time = {PyDateTime_DATE_GET_HOUR(value), PyDateTime_DATE_GET_MINUTE(value), PyDateTime_DATE_GET_SECOND(value),
                PyDateTime_DATE_GET_MICROSECOND(value)};
        fold = PyDateTime_DATE_GET_FOLD(value);
    } else {
        const auto text = m_reads_text ? ascii_text(value) : std::nullopt;
        if (!text) {
            return {};
        }
        digit_reader reader(*text);
        if (!read_day(reader, date) || !reader.skip(" T") || !read_time(reader, time)) {
            return {};
        }
    }
    return checked(PyDateTimeAPI->DateTime_FromDateAndTimeAndFold(
        date.year, date.month, date.number, time.hour, time.minute, time.second, time.microsecond,
        m_object ? m_object.get() : Py_None, fold, PyDateTimeAPI->DateTimeType));
}

/// Django rounds a float to 15 digits, and the result to the column's places. The shortest way there: a number of at
/// most 15 digits whose nearest float is this one is what these 15 digits are. So if the float is the nearest one to
/// some number with the column's places, Django's result is that number. Both divisor and dividend are exact, so the
/// division gives the nearest float.
object_ref conversion::decimal_of(PyObject* value) const {
    if (PyFloat_CheckExact(value)) {
        const double number = PyFloat_AS_DOUBLE(value);
        const double scaled = number * static_cast<double>(m_scale);
        if (!(std::abs(scaled) < static_cast<double>(m_limit)) || (number == 0 && std::signbit(number))) {
            return {};
        }
        const std::int64_t digits = std::llrint(scaled);
        if (std::abs(digits) >= m_limit || static_cast<double>(digits) / static_cast<double>(m_scale) != number ||
            (digits == 0 && number != 0)) {
            return {};
        }
        return decimal_text(digits);
    }
    if (!PyLong_CheckExact(value)) {
        return {};
    }
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0 || number <= -(m_limit / m_scale) || number >= m_limit / m_scale) {
        return {};
    }
    return decimal_text(number * m_scale);
}

/// The Decimal of a number of units in the last place.
object_ref conversion::decimal_text(std::int64_t number) const {
    std::array<char, 24> buffer{};
    char* const end = buffer.data() + buffer.size();
    char* front = end;
    std::int64_t rest = std::abs(number);
    for (int written = 0; rest != 0 || written <= m_places; ++written) {
        if (written == m_places && m_places != 0) {
            *--front = '.';
        }
        *--front = static_cast<char>('0' + rest % 10);
        rest /= 10;
    }
    if (number < 0) {
        *--front = '-';
    }
    const object_ref text = checked(PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, front, end - front));
    return checked(PyObject_CallOneArg(m_object.get(), text.get()));
}

/// What `json.loads()` returns. If the text is not read here, its own scanner reads what is between the spaces.
object_ref conversion::json_of(PyObject* value) const {
    if (!PyUnicode_CheckExact(value)) {
        return {};
    }
    if (const auto text = m_is_plain ? ascii_text(value) : std::nullopt) {
        if (object_ref read = read_json(*text, m_keys)) {
            return read;
        }
    }
#if PY_VERSION_HEX < 0x030C0000
    if (!PyUnicode_IS_READY(value)) {
        return {};
    }
#endif
    const Py_ssize_t size = PyUnicode_GET_LENGTH(value);
    const auto after_spaces = [value, size](Py_ssize_t at) {
        while (at < size && is_json_space(PyUnicode_READ_CHAR(value, at))) {
            ++at;
        }
        return at;
    };
    const object_ref start = checked(PyLong_FromSsize_t(after_spaces(0)));
    const object_ref read =
        object_ref::steal(PyObject_CallFunctionObjArgs(m_object.get(), value, start.get(), nullptr));
    if (!read) {
        // Whatever Django makes of such a text, its function will: JSONDecodeError, StopIteration, RecursionError.
        if (PyErr_ExceptionMatches(PyExc_ValueError) == 0 && PyErr_ExceptionMatches(PyExc_StopIteration) == 0 &&
            PyErr_ExceptionMatches(PyExc_RecursionError) == 0) {
            throw_python_error();
        }
        PyErr_Clear();
        return {};
    }
    const Py_ssize_t end = PyLong_AsSsize_t(PyTuple_GET_ITEM(read.get(), 1));
    return after_spaces(end) == size ? object_ref::borrow(PyTuple_GET_ITEM(read.get(), 0)) : object_ref();
}

void prepare_conversions() {
    PyDateTime_IMPORT;
    if (PyDateTimeAPI == nullptr) {
        throw_python_error();
    }
    const object_ref module = checked(PyImport_ImportModule("uuid"));
    const object_ref safety = checked(PyObject_GetAttrString(module.get(), "SafeUUID"));
    unknown_safety = checked(PyObject_GetAttrString(safety.get(), "unknown")).release();
    safety_offset = uuids.type == nullptr ? 0 : offset_of_slot(reinterpret_cast<PyObject*>(uuids.type), "is_safe");
}

} // namespace memoized_prefetch::binding
