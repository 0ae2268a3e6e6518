"""Benchmarks against Django and against django-memoized-prefetch 0.1.2: `python -m benchmarks --help`."""
