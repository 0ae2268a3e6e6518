"""Sets up Django with one third-party package, and an app for the models of the package's module."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.management import call_command

from tests.third_party.listed import PACKAGES, Package

# Apps of Django that packages need.
DJANGO = ["contenttypes", "auth", "sites", "sessions", "messages"]
urlpatterns: list[Any] = []


class Shop(AppConfig):
    name = "tests.third_party.packages"
    label = "shop"
    package: Package

    def import_models(self) -> None:
        self.models = apps.all_models[self.label]
        self.models_module = import_module(f"{self.name}.{self.package.module}")

    def ready(self) -> None:
        """Calls the module's own `ready`, if it has one, once all models are loaded."""
        getattr(self.models_module, "ready", lambda: None)()


class NoMigrations:
    """Makes tables from the models, because some packages' migrations take longer than all situations."""

    def __contains__(self, app: str) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


def set_up(name: str) -> ModuleType:
    """Creates the tables and rows of a package's module, and returns the module."""
    Shop.package = PACKAGES[name]
    apps_of_django = [f"django.contrib.{app}" for app in DJANGO]
    standard = {
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "INSTALLED_APPS": [*Shop.package.apps, *apps_of_django, f"{__name__}.Shop"],
        "MIGRATION_MODULES": NoMigrations(),
        "ROOT_URLCONF": __name__,
        "SECRET_KEY": "secret",
        "USE_TZ": True,
    }
    settings.configure(**{**standard, **Shop.package.settings})
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    module: ModuleType = apps.get_app_config(Shop.label).models_module
    module.rows()
    return module
