"""Settings of every process. What the page adds comes below."""

import os

from shop import observed

SECRET_KEY = "scale-out"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SHOP_DATABASE"],
        # The queue of django-tasks-db writes from several processes.
        "OPTIONS": {"timeout": 30},
    }
}
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

observed.begin()
