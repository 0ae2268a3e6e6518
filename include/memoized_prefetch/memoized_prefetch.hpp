/// memoized_prefetch: stream a large table chunk by chunk, and fetch each related row once.
#pragma once

#include <memoized_prefetch/passes/collection_pass.hpp>
#include <memoized_prefetch/prefetcher.hpp>
#include <memoized_prefetch/shared_memo.hpp>
