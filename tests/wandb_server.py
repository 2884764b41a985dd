"""A server on this machine that answers what the dashboard asks of Weights & Biases, and keeps what it is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Kept:
    """What was asked of the server.

    Attributes:
        address: of the server.
        saved: the variables of every mutation, in the order they came.
        views: the last specification of each view, by its name.
        refusal: what the server says to a mutation instead of doing it; empty to do it.
    """

    address: str = ""
    saved: list[dict[str, Any]] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusal: str = ""

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        query, variables = question["query"], question.get("variables") or {}
        if "upsertView" in query:
            if self.refusal:
                return {"data": None, "errors": [{"message": self.refusal}]}
            self.saved.append(variables)
            self.views[variables["name"]] = {"displayName": variables["displayName"], "spec": variables["spec"]}
            view = {"id": f"id-of-{variables['name']}", "name": variables["name"]}
            return {"data": {"upsertView": {"view": view, "inserted": "id" not in variables}}}
        if "allViews" in query:
            name = variables["viewName"]
            nodes = [{"node": {"id": f"id-of-{name}", **self.views[name]}}] if name in self.views else []
            return {"data": {"project": {"allViews": {"edges": nodes}}}}
        return {"data": {"viewer": {"id": "1", "username": "someone", "entity": "lab", "flags": "{}", "teams": None}}}


@contextmanager
def serving() -> Iterator[Kept]:
    """Answer until the block ends."""
    kept = Kept()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/graphql"  # the rest is about wandb itself
            body = json.dumps(kept.answer(json.loads(asked))).encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
