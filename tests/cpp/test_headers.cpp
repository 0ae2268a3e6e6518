// The core includes the standard library and itself, and nothing else; no header at all, adapters included, knows Python.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

TEST(headers, include_no_python_and_those_of_the_core_no_third_party) {
    const auto root = std::filesystem::path(__FILE__).parent_path() / "../../include";
    ASSERT_TRUE(std::filesystem::is_directory(root)) << root;
    const std::regex include(R"(^\s*#\s*include\s*(\S+).*)");
    const std::regex allowed(R"(<[a-z_]+>|<memoized_prefetch/[a-z_/]+\.hpp>)");
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
                const bool core = entry.path().parent_path().filename() == "memoized_prefetch";
                EXPECT_TRUE(!core || std::regex_match(what, allowed)) << entry.path() << " includes " << what;
            }
        }
    }
    EXPECT_GT(headers, 5);
}
