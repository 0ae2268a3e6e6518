"""Django with one third-party package, and the app that the models of this package's module are in."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.management import call_command

from tests.third_party.listed import PACKAGES, Package

# Django's apps that packages want beside their own.
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
        """What a package wants to be told when all models are there."""
        getattr(self.models_module, "ready", lambda: None)()


class NoMigrations:
    """Tables are made from the models as they are: some packages' migrations take longer than all situations."""

    def __contains__(self, app: str) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


def set_up(name: str) -> ModuleType:
    """The package's module, its tables and rows made."""
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
