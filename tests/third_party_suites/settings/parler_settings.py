"""Settings for the tests of django-parler, because its sdist has none."""

from __future__ import annotations

SECRET_KEY = "secret"
SITE_ID = 4
LANGUAGE_CODE = "en"
LANGUAGES = (("nl", "Dutch"), ("de", "German"), ("en", "English"), ("fr", "French"))
PARLER_LANGUAGES = {4: ({"code": "nl"}, {"code": "de"}, {"code": "en"}), "default": {"fallbacks": ["en"]}}
DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    for alias in ("default", "other_db_1", "other_db_2")
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "parler.tests.testapp.urls"
INSTALLED_APPS = (
    *(f"django.contrib.{name}" for name in ("auth", "contenttypes", "messages", "sessions", "sites", "admin")),
    "parler",
    "parler.tests.testapp",
)
MIDDLEWARE = (
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.locale.LocaleMiddleware",
)
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
