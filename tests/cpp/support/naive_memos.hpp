/// The library's own API again, as simple as possible: lists that are searched from end to end. The oracle of the
/// random programs. Tables and relations have numbers here, and rows of all tables have one type.
#pragma once

#include "naive_memos/chunk.hpp"
#include "naive_memos/memo.hpp"
#include "naive_memos/passes.hpp"
#include "naive_memos/resolved.hpp"
#include "naive_memos/table.hpp"
