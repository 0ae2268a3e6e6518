// Makes one program of a document's C++ blocks: extract_blocks DOCUMENT PROGRAM. Blocks after "<!-- in main -->" are
// the body of main, in their order; the others precede it.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

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
