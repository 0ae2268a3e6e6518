"""`opensearch document index` of django-opensearch-dsl, with a server that keeps what it is sent."""

from __future__ import annotations

import json
from typing import Any

from django.core.management import call_command
from opensearchpy import Connection
from opensearchpy.connection.connections import connections

from tests.python.documents.running import run

sent: list[dict[str, Any]] = []


class Wire(Connection):
    """In place of the connection to the server."""

    def perform_request(self, method: str, url: str, params: Any = None, body: Any = None, **_: Any) -> Any:
        answer: dict[str, Any] = {}
        if url == "/_bulk":
            lines = [json.loads(line) for line in body.decode().splitlines()]
            sent.extend(lines[1::2])
            answer = {"errors": False, "items": [{"index": {"status": 201}} for _ in lines[::2]]}
        return 200, {"content-type": "application/json"}, json.dumps(answer)


class Recipe:
    def __init__(self, examples: list[str]) -> None:
        connections.configure(default={"hosts": "localhost:9200", "connection_class": Wire})
        (example,) = examples
        *_, self.names = run(example)

    def memoized(self) -> None:
        sent.clear()
        call_command("opensearch", "document", "index", "--force", verbosity=0)

    def stock(self) -> None:
        self.names["memoized"] = lambda queryset: queryset
        self.memoized()

    def documents(self) -> list[Any]:
        return [[one["title"], one["author"]["name"], one["publisher"]["name"]] for one in sent]
