"""The tests in which this package differs from Django on purpose. A test that passes must not be listed."""

from __future__ import annotations

from tests.django_suites.expected import MORE, TWO_QUERIES, Difference

# The differences by project.
DIFFERENCES: dict[str, tuple[Difference, ...]] = {
    "djangorestframework": (
        Difference(
            TWO_QUERIES,
            (
                "tests.test_relations_hyperlink.HyperlinkedManyToManyTests.test_many_to_many_retrieve_prefetch_related",
                "tests.test_relations_pk.PKManyToManyTests.test_many_to_many_retrieve_prefetch_related",
            ),
            queries=MORE,
        ),
    ),
}


def differences(project: str, mode: str) -> dict[str, Difference]:
    """The differences of a run, by test."""
    listed = (one for one in DIFFERENCES.get(project, ()) if mode in one.modes)
    return {test: difference for difference in listed for test in difference.tests}
