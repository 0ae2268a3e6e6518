// Lets Python choose which of its instructions valgrind's callgrind counts.
#include <valgrind/callgrind.h>

extern "C" void collect_start() {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/// Writes the counts since collect_start() to a separate file, under that name.
extern "C" void collect_stop(const char* name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}

/// Pauses counting until the next call.
extern "C" void collect_toggle() { CALLGRIND_TOGGLE_COLLECT; }
