"""
Prefetch related rows for work that streams a large table chunk by chunk, and read each of them once.

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author", "translator"]))
    for chunk in chunks:
        prefetch.process_chunk(chunk)
"""

from importlib.metadata import version

from ._config import MemoizedPrefetchConfig
from ._prefetch import MemoizedPrefetch
from ._stats import RelationStats, Stats

__all__ = ["MemoizedPrefetch", "MemoizedPrefetchConfig", "RelationStats", "Stats"]

__version__ = version("django-memoized-prefetch")
