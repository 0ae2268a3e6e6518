/// Streams of keys: which rows a job asks for, in which order. A stream gives row numbers, counted from 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace streams {

/// Numbers below `count` by Zipf's law: rank k has a probability proportional to k^-exponent. Uses rejection-inversion
/// (Hoermann and Derflinger 1996), since with 10^7 ranks a table of the sums would not fit the caches.
class zipf {
public:
    zipf(double exponent, std::size_t count)
        : m_exponent(exponent), m_count(static_cast<double>(count)), m_low(area(1.5) - 1.0),
          m_high(area(m_count + 0.5)) {}

    template <class Random>
    std::size_t operator()(Random& random) {
        std::uniform_real_distribution<double> between(m_low, m_high);
        for (;;) {
            const double at = between(random);
            const double rank = std::clamp(std::round(inverse(at)), 1.0, m_count);
            if (at >= area(rank + 0.5) - std::pow(rank, -m_exponent)) {
                return static_cast<std::size_t>(rank) - 1;
            }
        }
    }

private:
    /// The area under x^-exponent from 1 to `upto`.
    [[nodiscard]] double area(double upto) const {
        const double power = 1.0 - m_exponent;
        return std::abs(power) < 1e-9 ? std::log(upto) : (std::pow(upto, power) - 1.0) / power;
    }
    [[nodiscard]] double inverse(double of) const {
        const double power = 1.0 - m_exponent;
        return std::abs(power) < 1e-9 ? std::exp(of) : std::pow(1.0 + of * power, 1.0 / power);
    }

    double m_exponent;
    double m_count;
    double m_low;
    double m_high;
};

/// `name`: uniform, zipf0.8, zipf1.0, zipf1.2, or scan: all rows in the order of their keys, again and again.
inline std::vector<std::uint32_t> numbers(const std::string& name, std::size_t rows, std::size_t length) {
    std::vector<std::uint32_t> stream(length);
    if (name == "scan") {
        for (std::size_t at = 0; at < length; ++at) {
            stream[at] = static_cast<std::uint32_t>(at % rows);
        }
        return stream;
    }
    std::mt19937_64 random(2013);
    // How often a row is asked for does not depend on its number.
    std::vector<std::uint32_t> by_rank(rows);
    std::iota(by_rank.begin(), by_rank.end(), 0U);
    std::shuffle(by_rank.begin(), by_rank.end(), random);
    if (name == "uniform") {
        std::uniform_int_distribution<std::size_t> any(0, rows - 1);
        std::generate(stream.begin(), stream.end(), [&] { return by_rank[any(random)]; });
    } else if (name.rfind("zipf", 0) == 0) {
        zipf some(std::stod(name.substr(4)), rows);
        std::generate(stream.begin(), stream.end(), [&] { return by_rank[some(random)]; });
    } else {
        throw std::invalid_argument("no such stream: " + name);
    }
    return stream;
}

} // namespace streams
