// The core includes the standard library and itself, and nothing else; no header at all, adapters included, knows Python.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>

TEST(headers, include_no_python_and_those_of_the_core_no_third_party) {
    const auto root = std::filesystem::path(__FILE__).parent_path() / "../../include";
    ASSERT_TRUE(std::filesystem::is_directory(root)) << root;
    const std::regex include(R"(^\s*#\s*include\s*(\S+).*)");
    const std::regex allowed(R"(<[a-z_]+>|<memoized_prefetch/[a-z_/]+\.hpp>)");
    const std::set<std::string> adapters{"sqlite.hpp", "postgresql.hpp"};
    std::set<std::string> of_adapters;
    for (const std::string& adapter : adapters) {
        of_adapters.insert("<memoized_prefetch/" + adapter + ">");
    }
    int headers = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
        if (!entry.is_regular_file()) {
            continue;
        }
        ++headers;
        std::ifstream lines(entry.path());
        for (std::string line; std::getline(lines, line);) {
            std::smatch match;
            if (std::regex_match(line, match, include)) {
                const std::string what = match[1];
                EXPECT_EQ(what.find("Python.h"), std::string::npos) << entry.path();
                const bool core = !adapters.contains(entry.path().filename());
                EXPECT_TRUE(!core || (std::regex_match(what, allowed) && !of_adapters.contains(what)))
                    << entry.path() << " includes " << what;
            }
        }
    }
    EXPECT_GT(headers, 5);
}
