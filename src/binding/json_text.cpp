#include "json_text.hpp"

#include <cstdint>
#include <cstring>

namespace memoized_prefetch::binding {

namespace {

/// Empty texts and single characters are those that the interpreter has already.
object_ref new_text(std::string_view text) {
    return checked(PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text.data(), static_cast<Py_ssize_t>(text.size())));
}

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

class json_reader {
public:
    json_reader(std::string_view text, json_keys& keys) noexcept
        : m_at(text.data()), m_end(text.data() + text.size()), m_keys(&keys) {}

    /// Null if the text is not a document, or not one that is read here.
    [[nodiscard]] object_ref document() {
        object_ref value = next_value(0);
        skip_spaces();
        return m_at == m_end ? std::move(value) : object_ref();
    }

private:
    static constexpr int deepest = 64;
    static constexpr std::ptrdiff_t most_digits = 18; // of an integer that fits into 64 bits

    void skip_spaces() noexcept {
        while (m_at != m_end && is_json_space(static_cast<unsigned char>(*m_at))) {
            ++m_at;
        }
    }
    [[nodiscard]] bool skip(char c) noexcept {
        skip_spaces();
        if (m_at == m_end || *m_at != c) {
            return false;
        }
        ++m_at;
        return true;
    }
    [[nodiscard]] bool skip(std::string_view word) noexcept {
        if (static_cast<std::size_t>(m_end - m_at) < word.size() || std::memcmp(m_at, word.data(), word.size()) != 0) {
            return false;
        }
        m_at += word.size();
        return true;
    }

    // NOLINTNEXTLINE(misc-no-recursion): as deep as `deepest`
    [[nodiscard]] object_ref next_value(int depth) {
        skip_spaces();
        if (m_at == m_end) {
            return {};
        }
        switch (*m_at) {
        case '{':
            ++m_at;
            return depth < deepest ? rest_of_object(depth + 1) : object_ref();
        case '[':
            ++m_at;
            return depth < deepest ? rest_of_array(depth + 1) : object_ref();
        case '"':
            ++m_at;
            return rest_of_string(false);
        case 't':
            return skip("true") ? object_ref::borrow(Py_True) : object_ref();
        case 'f':
            return skip("false") ? object_ref::borrow(Py_False) : object_ref();
        case 'n':
            return skip("null") ? object_ref::borrow(Py_None) : object_ref();
        default:
            return number();
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    [[nodiscard]] object_ref rest_of_object(int depth) {
        object_ref dict = checked(PyDict_New());
        if (skip('}')) {
            return dict;
        }
        do {
            const object_ref key = skip('"') ? rest_of_string(true) : object_ref();
            const object_ref value = key && skip(':') ? next_value(depth) : object_ref();
            if (!value) {
                return {};
            }
            checked(PyDict_SetItem(dict.get(), key.get(), value.get()));
        } while (skip(','));
        return skip('}') ? std::move(dict) : object_ref();
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    [[nodiscard]] object_ref rest_of_array(int depth) {
        object_ref list = checked(PyList_New(0));
        if (skip(']')) {
            return list;
        }
        do {
            const object_ref value = next_value(depth);
            if (!value) {
                return {};
            }
            checked(PyList_Append(list.get(), value.get()));
        } while (skip(','));
        return skip(']') ? std::move(list) : object_ref();
    }

    [[nodiscard]] object_ref rest_of_string(bool is_key) {
        const char* const start = m_at;
        while (m_at != m_end && *m_at != '"' && *m_at != '\\' && static_cast<unsigned char>(*m_at) >= ' ') {
            ++m_at;
        }
        if (m_at == m_end || (*m_at != '"' && *m_at != '\\')) {
            return {};
        }
        const std::string_view plain(start, static_cast<std::size_t>(m_at - start));
        if (*m_at == '\\') {
            return rest_of_escaped(plain);
        }
        ++m_at;
        return is_key ? m_keys->find(plain) : new_text(plain);
    }

    [[nodiscard]] object_ref rest_of_escaped(std::string_view before) {
        py_vector<Py_UCS4> characters(before.begin(), before.end());
        while (m_at != m_end && *m_at != '"') {
            Py_UCS4 c = static_cast<unsigned char>(*m_at++);
            if (c < ' ' || (c == '\\' && !escaped(c))) {
                return {};
            }
            characters.push_back(c);
        }
        if (m_at == m_end) {
            return {};
        }
        ++m_at;
        return checked(PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, characters.data(),
                                                 static_cast<Py_ssize_t>(characters.size())));
    }

    /// The character that stands behind a backslash.
    [[nodiscard]] bool escaped(Py_UCS4& into) noexcept {
        constexpr std::string_view names = "\"\\/bfnrt";
        constexpr std::string_view values = "\"\\/\b\f\n\r\t";
        if (m_at == m_end) {
            return false;
        }
        const char name = *m_at++;
        if (const std::size_t at = names.find(name); at != std::string_view::npos) {
            into = static_cast<unsigned char>(values[at]);
            return true;
        }
        if (name != 'u' || m_end - m_at < 4) {
            return false;
        }
        into = 0;
        for (int digit = 0; digit < 4; ++digit) {
            const char c = *m_at++;
            const char small = static_cast<char>(c | 0x20);
            if (!is_digit(c) && (small < 'a' || small > 'f')) {
                return false;
            }
            into = into << 4U | static_cast<Py_UCS4>(is_digit(c) ? c - '0' : small - 'a' + 10);
        }
        return into < 0xD800 || into > 0xDFFF;
    }

    [[nodiscard]] object_ref number() {
        const char* const start = m_at;
        if (m_at != m_end && *m_at == '-') {
            ++m_at;
        }
        const char* const digits = m_at;
        skip_digits();
        if (m_at == digits || (*digits == '0' && m_at - digits > 1)) {
            return {};
        }
        if (m_at == m_end || (*m_at != '.' && *m_at != 'e' && *m_at != 'E')) {
            return integer(start, digits);
        }
        if (*m_at == '.') {
            ++m_at;
            if (!skip_digits()) {
                return {};
            }
        }
        if (m_at != m_end && (*m_at == 'e' || *m_at == 'E')) {
            ++m_at;
            if (m_at != m_end && (*m_at == '+' || *m_at == '-')) {
                ++m_at;
            }
            if (!skip_digits()) {
                return {};
            }
        }
        char* end = nullptr; // the text of a str ends with a null character
        const double value = PyOS_string_to_double(start, &end, nullptr);
        if (value == -1.0 && PyErr_Occurred() != nullptr) {
            throw_python_error();
        }
        return end == m_at ? checked(PyFloat_FromDouble(value)) : object_ref();
    }

    bool skip_digits() noexcept {
        const char* const start = m_at;
        while (m_at != m_end && is_digit(*m_at)) {
            ++m_at;
        }
        return m_at != start;
    }

    [[nodiscard]] object_ref integer(const char* start, const char* digits) const {
        if (m_at - digits > most_digits) {
            return {};
        }
        std::int64_t value = 0;
        for (const char* at = digits; at != m_at; ++at) {
            value = value * 10 + (*at - '0');
        }
        return checked(PyLong_FromLongLong(start == digits ? value : -value));
    }

    const char* m_at;
    const char* m_end;
    json_keys* m_keys;
};

} // namespace

object_ref json_keys::find(std::string_view key) {
    std::uint32_t hash = 2'166'136'261U; // FNV-1a
    for (const char c : key) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
    }
    if (m_keys.empty()) {
        m_keys.resize(slots);
    }
    object_ref& kept = m_keys[(hash ^ hash >> 16U) % slots];
    if (kept && static_cast<std::size_t>(PyUnicode_GET_LENGTH(kept.get())) == key.size() &&
        std::memcmp(PyUnicode_1BYTE_DATA(kept.get()), key.data(), key.size()) == 0) {
        return kept;
    }
    kept = new_text(key);
    return kept;
}

object_ref read_json(std::string_view text, json_keys& keys) { return json_reader(text, keys).document(); }

} // namespace memoized_prefetch::binding
