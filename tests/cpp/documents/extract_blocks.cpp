// Makes one program of a document's C++ blocks: extract_blocks DOCUMENT PROGRAM. Blocks after "<!-- in main -->" are
// the body of main, in their order; the others precede it. Also checks the reference: in a table's row, every `name`
// must occur in the linked header, or in one that it includes.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file) {
        throw std::runtime_error("there is no " + path.string());
    }
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// A header with our headers that it includes, directly or not: what a user gets with it.
std::string with_included(const std::filesystem::path& header) {
    static const std::regex include(R"(#include <(memoized_prefetch/[^>]*)>)");
    std::filesystem::path root = header;
    while (root.filename() != "memoized_prefetch") {
        root = root.parent_path();
    }
    std::string all;
    std::set<std::filesystem::path> seen;
    std::vector<std::filesystem::path> next{header};
    while (!next.empty()) {
        const std::string text = text_of(next.back());
        next.pop_back();
        all += text;
        for (std::sregex_iterator at(text.begin(), text.end(), include), end; at != end; ++at) {
            const std::filesystem::path one = root.parent_path() / (*at)[1].str();
            if (seen.insert(one).second) {
                next.push_back(one);
            }
        }
    }
    return all;
}

void check_reference(const std::string& line, const std::filesystem::path& document) {
    static const std::regex row(R"(\| \[[^\]]*\]\(([^)]*\.hpp)\) \| (.*))");
    static const std::regex name("`([a-z_]+)`");
    std::smatch match;
    if (!std::regex_match(line, match, row)) {
        return;
    }
    const std::string header = with_included(document.parent_path() / match[1].str());
    const std::string names = match[2];
    for (std::sregex_iterator at(names.begin(), names.end(), name), end; at != end; ++at) {
        const std::regex declared("(class|struct|concept|using|auto|string|>|\\]\\]|error) (" + (*at)[1].str() +
                                  ")\\b");
        if (!std::regex_search(header, declared)) {
            throw std::runtime_error(match[1].str() + " declares no " + (*at)[1].str());
        }
    }
}

void extract(const std::filesystem::path& document, std::ostream& program) {
    std::string before;
    std::string within;
    std::istringstream lines(text_of(document));
    bool in_block = false;
    bool in_main = false;
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        std::string& part = in_main ? within : before;
        if (!in_block && line == "```cpp") {
            in_block = true;
            part += "#line " + std::to_string(number + 1) + " \"" + document.filename().string() + "\"\n";
        } else if (in_block && line == "```") {
            in_block = in_main = false;
        } else if (in_block) {
            part += line + "\n";
        } else if (line == "<!-- in main -->") {
            in_main = true;
        } else {
            check_reference(line, document);
        }
    }
    if (within.empty()) {
        throw std::runtime_error(document.string() + " has no example");
    }
    program << "#undef NDEBUG\n#include <cassert>\n#include <thread>\n"
            << before << "int main() {\n"
            << within << "}\n";
}

} // namespace

int main(int, char** arguments) {
    try {
        std::ofstream program(arguments[2]);
        extract(arguments[1], program);
        return program.flush() ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
