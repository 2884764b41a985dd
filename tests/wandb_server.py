"""A local server that responds to the dashboard's requests like Weights & Biases and records them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class RecordedRequests:
    """The requests that the server received.

    Attributes:
        address: of the server.
        saved: variables of every mutation in order.
        views: last specification of each view by its name.
        refusal: error message for every mutation; empty to accept mutations.
    """

    address: str = ""
    saved: list[dict[str, Any]] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusal: str = ""

    def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        query, variables = request["query"], request.get("variables") or {}
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
def run_server() -> Iterator[RecordedRequests]:
    """Serve until the block ends."""
    recorded = RecordedRequests()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.path == "/graphql"  # other requests are wandb's own
            body = json.dumps(recorded.respond(json.loads(content))).encode() if is_known else b""
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    recorded.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
