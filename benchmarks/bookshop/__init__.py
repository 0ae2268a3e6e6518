"""The bookshop whose tables the benchmarks stream."""
