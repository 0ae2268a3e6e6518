/// Reads dates and times from text, in the forms that databases write.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace memoized_prefetch::binding {

/// Reads numbers of a fixed width from the front of a text.
class digit_reader {
public:
    explicit digit_reader(std::string_view text) noexcept : m_text(text) {}

    [[nodiscard]] bool number(std::size_t digits, int& into) noexcept {
        if (m_text.size() < digits) {
            return false;
        }
        into = 0;
        for (const char digit : m_text.substr(0, digits)) {
            if (digit < '0' || digit > '9') {
                return false;
            }
            into = into * 10 + (digit - '0');
        }
        m_text.remove_prefix(digits);
        return true;
    }
    [[nodiscard]] bool skip(std::string_view any_of) noexcept {
        if (m_text.empty() || any_of.find(m_text.front()) == std::string_view::npos) {
            return false;
        }
        m_text.remove_prefix(1);
        return true;
    }
    /// Up to six digits of a fraction.
    [[nodiscard]] bool microseconds(int& into) noexcept {
        std::size_t digits = 0;
        into = 0;
        for (int digit = 0; digits < 6 && number(1, digit); ++digits) {
            into = into * 10 + digit;
        }
        for (std::size_t at = digits; at < 6; ++at) {
            into *= 10;
        }
        return digits != 0;
    }
    [[nodiscard]] bool at_end() const noexcept { return m_text.empty(); }

private:
    std::string_view m_text;
};

struct day {
    int year = 0;
    int month = 0;
    int number = 0;

    [[nodiscard]] bool exists() const noexcept {
        constexpr std::array lengths{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        if (year < 1 || month < 1 || month > 12 || number < 1) {
            return false;
        }
        const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        return number <= lengths.at(static_cast<std::size_t>(month - 1)) + (is_leap && month == 2 ? 1 : 0);
    }
};

struct clock_time {
    int hour = 0;
    int minute = 0;
    int second = 0;
    int microsecond = 0;

    [[nodiscard]] bool exists() const noexcept { return hour < 24 && minute < 60 && second < 60; }
};

/// YYYY-MM-DD.
inline bool read_day(digit_reader& text, day& into) noexcept {
    return text.number(4, into.year) && text.skip("-") && text.number(2, into.month) && text.skip("-") &&
           text.number(2, into.number) && into.exists();
}

/// HH:MM:SS.
inline bool read_clock(digit_reader& text, clock_time& into) noexcept {
    return text.number(2, into.hour) && text.skip(":") && text.number(2, into.minute) && text.skip(":") &&
           text.number(2, into.second) && into.exists();
}

/// HH:MM:SS or HH:MM:SS.ffffff, up to the end. These forms mean the same in every version of Python.
inline bool read_time(digit_reader& text, clock_time& into) noexcept {
    return read_clock(text, into) && (!text.skip(".") || text.number(6, into.microsecond)) && text.at_end();
}

/// YYYY-MM-DD HH:MM:SS and a fraction of up to six digits, of the zone UTC: as PostgreSQL writes a timestamptz if the
/// session's zone is that.
inline bool read_utc(digit_reader& text, day& date, clock_time& time) noexcept {
    return read_day(text, date) && text.skip(" ") && read_clock(text, time) &&
           (!text.skip(".") || text.microseconds(time.microsecond)) && text.skip("+") && text.skip("0") &&
           text.skip("0") && text.at_end();
}

} // namespace memoized_prefetch::binding
