/// json_text: reads a JSON document, as `json.loads()` does.
#pragma once

#include "object_ref.hpp"
#include "py_allocator.hpp"

#include <cstddef>
#include <string_view>

namespace memoized_prefetch::binding {

[[nodiscard]] constexpr bool is_json_space(Py_UCS4 c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// The keys of the objects in a column's documents. They are the same ones again and again, so the str of each is kept
/// for the next document. A row of a key and an object with three keys takes 1.3 us like this, and 2.1 with Python's scanner.
class json_keys {
public:
    /// The str of a key without escapes.
    [[nodiscard]] object_ref find(std::string_view key);

private:
    static constexpr std::size_t slots = 64; // a power of two

    py_vector<object_ref> m_keys; // by hash; the latest key of each
};

/// The value of a document of ASCII characters. Null, with no error set, if it has to be read by Python's scanner: it is
/// invalid, or has something that is rare and told at greater length (surrogates, NaN, numbers of more than 18 digits,
/// deep nesting).
[[nodiscard]] object_ref read_json(std::string_view text, json_keys& keys);

} // namespace memoized_prefetch::binding
