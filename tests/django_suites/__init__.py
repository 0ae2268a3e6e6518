"""Django's own test suites, run with this package in the place of Django's row building and prefetching."""
