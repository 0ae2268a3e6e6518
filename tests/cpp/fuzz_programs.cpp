// libFuzzer on the programs that the unit tests share: `make fuzz`. The first byte selects the kind of memo.
#include "support/random_program.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    support::run_program({data, size}); // a difference ends the process
    return 0;
}
