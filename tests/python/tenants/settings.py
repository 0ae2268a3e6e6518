"""Settings of the django-tenants program: its own database backend, router and list of applications."""

from __future__ import annotations

import os

from tests.python.settings import postgresql

DATABASES = {
    "default": postgresql(os.environ["DATABASE_URL"], "_tenants", engine="django_tenants.postgresql_backend"),
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "tests.python.tenants.customers"]
TENANT_APPS = ["django.contrib.contenttypes", "tests.python.bookshop"]
INSTALLED_APPS = [*SHARED_APPS, *(app for app in TENANT_APPS if app not in SHARED_APPS)]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
