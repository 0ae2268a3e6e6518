/// Inputs kept from the fuzzers: each file reaches code that the others do not. `script/fuzz --keep` writes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace support {

/// By file name.
inline std::map<std::string, std::vector<std::uint8_t>> corpus_of(const std::string& fuzzer) {
    std::map<std::string, std::vector<std::uint8_t>> corpus;
    const auto directory = std::filesystem::path(__FILE__).parent_path() / "../corpus" / fuzzer;
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
        std::ifstream bytes(file.path(), std::ios::binary);
        corpus[file.path().filename()] = {std::istreambuf_iterator<char>(bytes), {}};
    }
    return corpus;
}

} // namespace support
