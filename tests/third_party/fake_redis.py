"""Redis in memory, for django-cacheops."""

from __future__ import annotations

from typing import Any

from fakeredis import FakeStrictRedis


class Redis(FakeStrictRedis):
    def info(self, section: str | None = None) -> dict[str, Any]:
        """cacheops asks which Lua it can use; the fake does not know."""
        return {"redis_version": "7.0.0"}
