"""The projects, and how their tests are installed and started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The mode of the self-check.
BROKEN = "broken"


@dataclass(frozen=True)
class Project:
    """
    A project whose sdist has its tests.

    version: Pinned: a new release must not turn an unchanged tree red.
    start: "pytest", or a script of the tree or "django-admin" with arguments.
    django: The newest that the tests run on.
    needs: What is installed for the tests beside the project.
    paths: Directories of the tree that modules are imported from.
    settings: The module of the settings; empty, when the tests find it themselves.
    natively: Whether the engine attaches any of what the tests prefetch, so that attaching nothing is a problem.
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
# Without this, pytest takes the options of this repository for those of the project.
_NO_OPTIONS = ("-c", "/dev/null", "--rootdir", ".")
_TIMED = "tests/test_ltree_utils.py::TestGenerateLabel::test_large_string"
# What prefetches, of images, documents, snippets and pages; all would take three times as long.
_WAGTAIL = ("wagtail.images", "wagtail.documents", "wagtail.snippets", "wagtail.tests")

PROJECTS = (
    Project(
        "django-sortedm2m",
        "3.1.1",
        start=("django-admin", "test", "sortedm2m_tests"),
        # With 5.0 went what its field asks of relations.
        django="4.2",
        paths=(".", "test_project"),
        settings="settings",
        environment={"DB_ENGINE": "sqlite3", "DB_NAME": ":memory:"},
        # All that is prefetched has its manager, which orders by the link.
        natively=False,
    ),
    Project(
        "django-taggit",
        # The latest whose sdist has tests.
        "6.0.0",
        start=("django-admin", "test"),
        needs=("djangorestframework",),
        settings="tests.settings",
        # All that is prefetched are tags, whose manager is its own.
        natively=False,
    ),
    Project(
        "django-parler",
        "2.4",
        # One module cannot be imported: it needs an example that the sdist leaves out.
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
        # One test measures time.
        start=("pytest", *_NO_OPTIONS, "tests", "--deselect", _TIMED),
        needs=_PYTEST,
        settings="tests.settings",
    ),
    Project("django-guardian", "3.5.2", start=("pytest",), needs=(*_PYTEST, "django-environ")),
    Project(
        "wagtail",
        "8.0.1",
        start=("django-admin", "test", *_WAGTAIL),
        needs=("wagtail[testing]",),
        settings="wagtail.test.settings",
    ),
)
