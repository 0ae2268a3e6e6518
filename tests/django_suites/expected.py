"""The tests in which this package differs from Django on purpose. A test that passes must not be listed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.django_suites.suites import COMPARE, ENGINE_MODES

ALL = ("4.2", "5.2", "6.0", "6.1")

# The number of queries may be higher, by at most one for each many-to-many lookup inside the assertion.
MORE = "more queries"
# The number of queries may be lower.
FEWER = "fewer queries"
# The test fails.
OTHER = "other"


@dataclass(frozen=True)
class Difference:
    """
    Tests that see a difference, with its reason. Users are told about it.

    queries: MORE or FEWER if only the number of queries differs.
    """

    reason: str
    tests: tuple[str, ...]
    queries: str = OTHER
    modes: tuple[str, ...] = ENGINE_MODES
    versions: tuple[str, ...] = ALL

    def permits(self, expected: int, executed: int, many_to_many: int) -> bool:
        """Whether this difference allows the number of queries of a failed assertNumQueries."""
        if self.queries == MORE:
            return expected < executed <= expected + many_to_many
        return self.queries == FEWER and executed < expected


def _of(test_case: str, names: str) -> tuple[str, ...]:
    return tuple(f"{test_case}.{name}" for name in names.split())


TWO_QUERIES = "links of a many-to-many and targets that are not remembered are two queries; Django's is one join"

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        TWO_QUERIES,
        (
            *_of(
                "m2m_through_regress.test_multitable.MultiTableTests",
                "test_m2m_prefetch_proxied test_m2m_prefetch_reverse_proxied",
            ),
            *_of(
                "prefetch_related.test_prefetch_related_objects.PrefetchRelatedObjectsTests",
                "test_m2m_forward test_m2m_reverse test_m2m_then_m2m test_prefetch_object "
                "test_prefetch_object_to_attr test_prefetch_object_to_attr_twice test_prefetch_object_twice "
                "test_prefetch_queryset",
            ),
            *_of(
                "prefetch_related.test_uuid.UUIDPrefetchRelated",
                "test_prefetch_related_from_uuid_model test_prefetch_related_from_uuid_model_to_uuid_model "
                "test_prefetch_related_to_uuid_model",
            ),
            *_of(
                "prefetch_related.test_uuid.UUIDPrefetchRelatedLookups",
                "test_from_integer_pk_lookup_integer_pk_uuid_pk_uuid_pk "
                "test_from_integer_pk_lookup_uuid_pk_integer_pk test_from_uuid_pk_lookup_integer_pk2_uuid_pk2 "
                "test_from_uuid_pk_lookup_uuid_pk_integer_pk",
            ),
            *_of(
                "prefetch_related.tests.CustomPrefetchTests",
                "test_custom_qs test_m2m test_m2m_through_fk "
                "test_nested_prefetch_related_with_duplicate_prefetcher test_o2m_through_m2m test_reverse_m2m "
                "test_traverse_multiple_items_property test_traverse_single_item_property",
            ),
            *_of(
                "prefetch_related.tests.DefaultManagerTests",
                "test_m2m_then_m2m",
            ),
            *_of(
                "prefetch_related.tests.ForeignKeyToFieldTest",
                "test_m2m",
            ),
            *_of(
                "prefetch_related.tests.GenericRelationTests",
                "test_traverse_GFK",
            ),
            *_of(
                "prefetch_related.tests.LookupOrderingTest",
                "test_order",
            ),
            *_of(
                "prefetch_related.tests.MultiDbTests",
                "test_using_is_honored_m2m",
            ),
            *_of(
                "prefetch_related.tests.MultiTableInheritanceTest",
                "test_m2m_to_inheriting_model",
            ),
            *_of(
                "prefetch_related.tests.PrefetchLimitTests",
                "test_m2m_forward test_m2m_reverse test_reverse_ordering",
            ),
            *_of(
                "prefetch_related.tests.PrefetchRelatedTests",
                "test_foreign_key_then_m2m test_get test_m2m_forward test_m2m_prefetching_iterator_with_chunks "
                "test_m2m_reverse test_m2m_then_m2m test_overriding_prefetch",
            ),
            *_of(
                "prefetch_related.tests.RawQuerySetTests",
                "test_basic test_prefetch_before_raw",
            ),
            *_of(
                "prefetch_related.tests.ReadPrefetchedObjectsCacheTests",
                "test_retrieves_results_from_prefetched_objects_cache",
            ),
        ),
        queries=MORE,
    ),
    Difference(
        TWO_QUERIES,
        (
            *_of(
                "prefetch_related.tests.CustomPrefetchTests",
                "test_nested_prefetch_related_with_duplicate_prefetch_and_depth",
            ),
            *_of(
                "prefetch_related.tests.PrefetchLimitTests",
                "test_empty_order",
            ),
        ),
        queries=MORE,
        versions=("5.2", "6.0", "6.1"),
    ),
    Difference(
        TWO_QUERIES,
        (
            *_of(
                "prefetch_related.test_prefetch_related_objects.PrefetchRelatedObjectsTests",
                "test_prefetch_related_objects_with_various_iterables",
            ),
            *_of(
                "prefetch_related.tests.PrefetchRelatedMTICacheTests",
                "test_grandparent_m2m_available_in_child test_parent_m2m_available_in_child",
            ),
        ),
        queries=MORE,
        versions=("6.0", "6.1"),
    ),
    Difference(
        "an AttributeError as Django's, with a text of its own",
        ("prefetch_related.tests.PrefetchRelatedTests.test_attribute_error",),
    ),
    Difference(
        "counts the filters that are added to queries: a many-to-many has two queries to add one to",
        (
            "prefetch_related.tests.CustomPrefetchTests.test_filter_deferred",
            "prefetch_related.tests.PrefetchRelatedTests.test_filter_deferred",
        ),
    ),
    Difference(
        "every query runs twice here, and so in a random order twice",
        ("aggregation.tests.AggregateTestCase.test_aggregation_random_ordering",),
        modes=(COMPARE,),
    ),
    Difference(
        "counts calls of what every query uses, which runs twice here",
        (
            "multiple_database.tests.QueryTestCase.test_refresh_router_instance_hint",
            "queries.test_iterator.QuerySetIteratorTests.test_default_iterator_chunk_size",
            "queries.test_iterator.QuerySetIteratorTests.test_iterator_chunk_size",
        ),
        modes=(COMPARE,),
    ),
)


def differences(mode: str, version: str) -> dict[str, Difference]:
    """The differences of a run, by test."""
    return {
        test: difference
        for difference in DIFFERENCES
        if mode in difference.modes and version in difference.versions
        for test in difference.tests
    }
