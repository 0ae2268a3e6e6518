"""Which of Django's suites run in which mode."""

from __future__ import annotations

# Django alone, to know which tests fail here without this package.
STOCK = "stock"
# The engine builds every row of a ModelIterable.
HYDRATE = "hydrate"
# The same, and Django builds every result too. Both are compared, down to the order of the attributes.
COMPARE = "compare"
# prefetch_related_objects uses the engine, a new one for each call.
FRESH = "fresh"
# The same, with memos of one row.
ONE = "one"
# Like FRESH, and each call is repeated with an engine that remembers it, and compared with Django.
WARM = "warm"

_PREFETCHING = (
    "async",
    "composite_pk",
    "contenttypes_tests",
    "custom_managers",
    "foreign_object",
    "generic_relations",
    "generic_relations_regress",
    "known_related_objects",
    "m2m_through",
    "m2m_through_regress",
    "many_to_many",
    "many_to_one",
    "many_to_one_null",
    "model_inheritance",
    "model_inheritance_regress",
    "multiple_database",
    "null_fk",
    "one_to_one",
    "prefetch_related",
    "proxy_models",
    "queryset_pickle",
)
_READING = (
    *_PREFETCHING,
    "aggregation",
    "annotations",
    "basic",
    "custom_pk",
    "defer",
    "defer_regress",
    "extra_regress",
    "filtered_relation",
    "from_db_value",
    "model_fields",
    "order_with_respect_to",
    "queries",
    "raw_query",
    "select_related",
    "select_related_onetoone",
    "select_related_regress",
    "signals",
)
SUITES = {HYDRATE: _READING, COMPARE: _READING, FRESH: _PREFETCHING, ONE: _PREFETCHING, WARM: _PREFETCHING}
MODES = tuple(SUITES)
ROW_MODES = (HYDRATE, COMPARE)
ENGINE_MODES = (FRESH, ONE, WARM)


def suites_of(mode: str, wanted: list[str], version: str) -> list[str]:
    return sorted(
        suite
        for suite in SUITES[mode]
        if (not wanted or suite in wanted) and not (suite == "composite_pk" and version == "4.2")
    )
