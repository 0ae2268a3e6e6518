/// Fetch callbacks over SQLite.
#pragma once

#include <memoized_prefetch/sql/sqlite.hpp>
