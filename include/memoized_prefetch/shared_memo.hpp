/// shared_memo: a memo that several threads use at once.
#pragma once

#include <memoized_prefetch/shared/shared_memo.hpp>
