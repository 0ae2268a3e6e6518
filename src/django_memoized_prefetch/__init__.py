"""
Stream a large table in chunks with its related rows prefetched, reading each related row only once.

    for book in memoized(Book.objects.prefetch_related("author")).iterator(chunk_size=2000):
        ...

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author", "translator"]))
    for chunk in prefetch.chunks(Book.objects.all()):
        ...
"""

from importlib.metadata import version

from ._clock import Times
from ._config import MemoizedPrefetchConfig
from ._lookahead.plan import Plan, TablePlan
from ._memoized import memoized
from ._memory.advice import Advice
from ._partitions.cut import partitions
from ._partitions.partition import Partition
from ._prefetch import MemoizedPrefetch
from ._reports.stats import RelationStats, Stats
from ._streaming.progress import Progress

__all__ = [
    "Advice",
    "MemoizedPrefetch",
    "MemoizedPrefetchConfig",
    "Partition",
    "Plan",
    "Progress",
    "RelationStats",
    "Stats",
    "TablePlan",
    "Times",
    "memoized",
    "partitions",
]

__version__ = version("django-memoized-prefetch")
