"""Where this package differs from Django on purpose, test by test. What passes as under Django must not be here."""

from __future__ import annotations

from tests.django_suites.expected import MORE, TWO_QUERIES, Difference

# By project.
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
    """By test, those of a run."""
    listed = (one for one in DIFFERENCES.get(project, ()) if mode in one.modes)
    return {test: difference for difference in listed for test in difference.tests}
