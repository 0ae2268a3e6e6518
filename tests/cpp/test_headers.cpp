// The core includes only the standard library and itself. No header, not even an adapter's, includes Python's.
// Headers include only their own layer and those below it, and never each other.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {
namespace fs = std::filesystem;
const fs::path root = fs::path(__FILE__).parent_path() / "../../include/memoized_prefetch";

/// By header, as written in an include: what it includes.
std::map<std::string, std::vector<std::string>> includes() {
    const std::regex include(R"(^\s*#\s*include\s*(\S+).*)");
    std::map<std::string, std::vector<std::string>> result;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        if (!entry.is_regular_file()) {
            continue;
        }
        auto& included = result["<memoized_prefetch/" + fs::relative(entry.path(), root).generic_string() + ">"];
        std::ifstream lines(entry.path());
        for (std::string line; std::getline(lines, line);) {
            std::smatch match;
            if (std::regex_match(line, match, include)) {
                included.push_back(match[1]);
            }
        }
    }
    return result;
}

bool is_adapter(const std::string& header) {
    return header.ends_with("/sqlite.hpp>") || header.ends_with("/postgresql.hpp>");
}

/// The lowest layer is 0. The short names in the top folder are in the highest: they forward to `shared` and `sql`.
int layer_of(const std::string& header) {
    const std::vector<std::string> folders{"detail/", "tables/", "passes/"};
    for (std::size_t layer = 0; layer < folders.size(); ++layer) {
        if (header.starts_with("<memoized_prefetch/" + folders[layer])) {
            return static_cast<int>(layer);
        }
    }
    return static_cast<int>(folders.size());
}
} // namespace

TEST(headers, include_no_python_and_those_of_the_core_no_third_party) {
    const std::regex allowed(R"(<[a-z_]+>|<memoized_prefetch/[a-z_/]+\.hpp>)");
    const auto headers = includes();
    for (const auto& [header, included] : headers) {
        for (const std::string& what : included) {
            EXPECT_EQ(what.find("Python.h"), std::string::npos) << header;
            EXPECT_TRUE(is_adapter(header) || (std::regex_match(what, allowed) && !is_adapter(what)))
                << header << " includes " << what;
        }
    }
    EXPECT_GT(headers.size(), 5U);
}

TEST(headers, include_nothing_of_a_higher_layer) {
    for (const auto& [header, included] : includes()) {
        for (const std::string& what : included) {
            if (what.starts_with("<memoized_prefetch/")) {
                EXPECT_LE(layer_of(what), layer_of(header)) << header << " includes " << what;
            }
        }
    }
}

TEST(headers, do_not_include_each_other_in_a_circle) {
    const auto direct = includes();
    for (const auto& [header, included] : direct) {
        std::set<std::string> reached;
        std::vector<std::string> next = included;
        while (!next.empty()) {
            const std::string one = next.back();
            next.pop_back();
            const auto found = direct.find(one);
            if (found != direct.end() && reached.insert(one).second) {
                next.insert(next.end(), found->second.begin(), found->second.end());
            }
        }
        EXPECT_FALSE(reached.contains(header)) << header << " includes itself";
    }
}
