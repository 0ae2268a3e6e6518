"""The Django settings of the demo: one app and one database, which `FLIGHTS_DATABASE` names."""

from __future__ import annotations

import os

from flights.database import connection_settings

INSTALLED_APPS = ["flights"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {"default": connection_settings(os.environ["FLIGHTS_DATABASE"])}
