"""The projects, and how to install and start their tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The mode of the self-check.
BROKEN = "broken"


@dataclass(frozen=True)
class Project:
    """
    A project whose sdist has its tests.

    version: Pinned, because a new release must not turn an unchanged tree red.
    start: "pytest", "django-admin" or a script of the tree, with arguments.
    django: The newest version that the tests run on.
    needs: What the tests need besides the project.
    paths: The directories of the tree from which modules are imported.
    settings: The settings module; empty if the tests find it themselves.
    natively: Whether the engine must attach some of what the tests prefetch; attaching nothing is then a problem.
    """

    name: str
    version: str
    start: tuple[str, ...]
    django: str = "6.1"
    needs: tuple[str, ...] = ()
    paths: tuple[str, ...] = (".",)
    settings: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    natively: bool = True


_PYTEST = ("pytest>=8.4", "pytest-django>=4.11")
# Without this, pytest uses the options of this repository.
_NO_OPTIONS = ("-c", "/dev/null", "--rootdir", ".")
# Tests that measure time.
_TIMED_LABELS = "tests/test_ltree_utils.py::TestGenerateLabel::test_large_string"
_TIMED_LOOKUPS = "guardian/testapp/tests/test_indexes.py::IndexVsNoIndexPerformanceTestCase"
# The apps with prefetches, of images, documents, snippets and pages. All apps would take three times as long.
_WAGTAIL = ("wagtail.images", "wagtail.documents", "wagtail.snippets", "wagtail.tests")

PROJECTS = (
    Project(
        "django-sortedm2m",
        "3.1.1",
        start=("django-admin", "test", "sortedm2m_tests"),
        # Django 5.0 removed what its field asks of relations.
        django="4.2",
        paths=(".", "test_project"),
        settings="settings",
        environment={"DB_ENGINE": "sqlite3", "DB_NAME": ":memory:"},
        # The manager of everything prefetched is its own, and orders by the link.
        natively=False,
    ),
    Project(
        "django-taggit",
        # The latest version whose sdist has tests.
        "6.0.0",
        start=("django-admin", "test"),
        needs=("djangorestframework",),
        settings="tests.settings",
        # Only tags are prefetched, and their manager is its own.
        natively=False,
    ),
    Project(
        "django-parler",
        "2.4",
        # One test module cannot be imported: it needs an example that is not in the sdist.
        start=("django-admin", "test", "parler"),
        settings="parler_settings",
    ),
    Project(
        "django-filter",
        "26.2",
        start=("django-admin", "test", "tests"),
        needs=("djangorestframework", "markdown", "django-crispy-forms", "pytz"),
        settings="tests.settings",
        natively=False,
    ),
    Project("django-simple-history", "3.13.0", start=("runtests.py",)),
    Project(
        "django-import-export",
        "4.4.3",
        start=("tests/manage.py", "test", "core"),
        needs=("tablib[all]", "chardet", "pytz", "memory-profiler", "django-extensions", "psycopg[binary]"),
        paths=(".", "tests"),
    ),
    Project(
        "djangorestframework",
        "3.18.3",
        start=("pytest", "tests"),
        needs=(
            *_PYTEST,
            "dj-database-url",
            "django-filter",
            "django-guardian",
            "inflection",
            "markdown",
            "pygments",
            "pytz",
            "pyyaml",
            "requests",
            "uritemplate",
        ),
    ),
    Project(
        "django-treebeard",
        "7.0.3",
        start=("pytest", *_NO_OPTIONS, "tests", "--deselect", _TIMED_LABELS),
        needs=_PYTEST,
        settings="tests.settings",
    ),
    Project(
        "django-guardian",
        "3.5.2",
        start=("pytest", "--deselect", _TIMED_LOOKUPS),
        needs=(*_PYTEST, "django-environ"),
    ),
    Project(
        "wagtail",
        "8.0.1",
        start=("django-admin", "test", *_WAGTAIL),
        needs=("wagtail[testing]",),
        settings="wagtail.test.settings",
    ),
)
