/// Fetch callbacks over PostgreSQL.
#pragma once

#include <memoized_prefetch/sql/postgresql.hpp>
