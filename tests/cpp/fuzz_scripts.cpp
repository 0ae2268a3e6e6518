// libFuzzer on the scripts over the tables that the unit tests share: `make fuzz`.
#include "support/random_script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    support::random_script::run({data, size}); // a difference ends the process
    return 0;
}
