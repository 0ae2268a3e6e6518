"""Test suites of other projects, run with this package in the place of Django's row building and prefetching."""
