"""Settings of processes that tests start: only the applications they use, which makes a start a quarter shorter."""

from tests.python.settings import *  # noqa: F403

INSTALLED_APPS = ["django.contrib.contenttypes", "tests.python.bookshop", "tests.python.workshop"]
