"""The third-party packages: what is installed for each, and the settings that each runs with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# The runs: this package; Django in its place, which must not differ; and wrong answers, which must all be found.
OURS, SELF_CHECK, MUTANTS = MODES = ("ours", "self-check", "mutants")


@dataclass(frozen=True)
class Package:
    """
    A package to run with.

    Args:
        module: The module of `tests.third_party.packages` with the models, the rows and the situations.
        apps: Apps that come before Django's own in INSTALLED_APPS.
        settings: Other settings.
        needs: What is installed besides it.
        refuses: The versions of Django with which no version of it runs, and what is raised.
    """

    module: str
    apps: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    refuses: dict[str, str] = field(default_factory=dict)


LANGUAGES = {"LANGUAGE_CODE": "en", "LANGUAGES": [("en", "English"), ("nl", "Dutch")]}
CACHES = {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}
WAGTAIL = (
    "wagtail.contrib.redirects wagtail.embeds wagtail.sites wagtail.users wagtail.snippets wagtail.documents "
    "wagtail.images wagtail.search wagtail.admin wagtail modelcluster taggit"
)

PACKAGES = {
    "django-polymorphic": Package("polymorphic", apps=("polymorphic",)),
    "django-mptt": Package("mptt", apps=("mptt",)),
    "django-treebeard": Package("treebeard", apps=("treebeard",)),
    "django-taggit": Package("taggit", apps=("taggit",)),
    "django-sortedm2m": Package("sortedm2m", apps=("sortedm2m",)),
    "django-simple-history": Package("simple_history", apps=("simple_history",)),
    "django-model-utils": Package("model_utils"),
    "django-safedelete": Package("safedelete", apps=("safedelete",)),
    "django-parler": Package(
        "parler",
        apps=("parler",),
        settings={**LANGUAGES, **CACHES, "PARLER_LANGUAGES": {None: ({"code": "en"}, {"code": "nl"})}},
    ),
    "django-modeltranslation": Package("modeltranslation", apps=("modeltranslation",), settings=LANGUAGES),
    "django-cte": Package("cte"),
    "django-queryable-properties": Package("queryable_properties", apps=("queryable_properties",)),
    "django-money": Package("money", apps=("djmoney",)),
    "django-guardian": Package(
        "guardian",
        apps=("guardian",),
        settings={
            "AUTHENTICATION_BACKENDS": [
                "django.contrib.auth.backends.ModelBackend",
                "guardian.backends.ObjectPermissionBackend",
            ]
        },
    ),
    "django-activity-stream": Package("activity_stream", apps=("actstream",), settings={"SITE_ID": 1}),
    "django-ordered-model": Package("ordered_model", apps=("ordered_model",)),
    "django-multitenant": Package("multitenant"),
    "django-scopes": Package("scopes"),
    "wagtail": Package(
        "wagtail",
        apps=tuple(WAGTAIL.split()),
        settings={
            "WAGTAIL_SITE_NAME": "shop",
            "WAGTAILADMIN_BASE_URL": "",
            "STATIC_URL": "/static/",
            "WAGTAILSEARCH_BACKENDS": {"default": {"BACKEND": "tests.third_party.search_engine", "AUTO_UPDATE": False}},
        },
    ),
    "ipykernel": Package("jupyter", needs=("nbclient", "ipywidgets", "tqdm")),
    "django-cachalot": Package("cachalot", apps=("cachalot",), settings=CACHES),
    "django-cacheops": Package(
        "cacheops",
        apps=("cacheops",),
        settings={
            "CACHEOPS_REDIS": "redis://127.0.0.1:6379/1",
            "CACHEOPS_CLIENT_CLASS": "tests.third_party.fake_redis.Redis",
            "CACHEOPS_DEFAULTS": {"timeout": 3600},
            "CACHEOPS": {"shop.*": {"ops": "all"}},
        },
        needs=("fakeredis[lua]",),
    ),
    "django-zeal": Package("zeal", apps=("zeal",)),
    "nplusone": Package("nplusone", apps=("nplusone.ext.django",)),
    "django-auto-prefetch": Package("auto_prefetch"),
    "django-paranoid-model": Package("paranoid_model", apps=("paranoid_model",)),
    "django-polymodels": Package("polymodels", apps=("polymodels",)),
    "django-hashid-field": Package("hashid_field", settings={"HASHID_FIELD_SALT": "salt"}),
    "django-tree-queries": Package("tree_queries", apps=("tree_queries",)),
    "django-model-values": Package("model_values"),
    "django-reversion": Package("reversion", apps=("reversion",)),
    "django-auditlog": Package("auditlog", apps=("auditlog",)),
    "django-dirtyfields": Package("dirtyfields"),
    "django-lifecycle": Package("lifecycle"),
    "django-softdelete": Package("softdelete", apps=("softdelete",)),
    "django-seal": Package("seal", apps=("seal",)),
    "django-tagulous": Package("tagulous", apps=("tagulous",)),
    "django-eav2": Package("eav", apps=("eav",), settings={"EAV2_PRIMARY_KEY_FIELD": "django.db.models.BigAutoField"}),
}
