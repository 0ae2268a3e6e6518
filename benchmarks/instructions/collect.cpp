// Lets Python say which of its instructions valgrind's callgrind counts.
#include <valgrind/callgrind.h>

extern "C" void collect_start() {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/// Writes what was counted since collect_start() to a file of its own, under that name.
extern "C" void collect_stop(const char* name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}

/// Not counted is what comes from one call to the next.
extern "C" void collect_toggle() { CALLGRIND_TOGGLE_COLLECT; }
