"""Weights of timm: found in the cache of the Hugging Face hub without a network, or one line."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from simclr_med.errors import RunError
from simclr_med.runs import hub, init
from simclr_med.runs.hub import WEIGHTS, find_weights, push_folder

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra timm is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one file of one repository, and no network."""
    repository = tmp_path / "models--timm--resnet10t.c3_in1k"
    for folder in ("refs", "snapshots/abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / WEIGHTS).write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


def test_the_cached_file_is_found_and_hashed(cache: Path) -> None:
    found = init.timm("resnet10t.c3_in1k")
    assert (found.kind, found.path) == ("timm", cache / "snapshots" / "abc" / WEIGHTS)
    assert found.hash == "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"


def test_a_missing_file_is_one_line_that_says_where_to_get_it(cache: Path) -> None:
    with pytest.raises(RunError) as caught:
        find_weights("resnet18.a1_in1k")
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.startswith(f"init=timm: model.safetensors of timm/resnet18.a1_in1k is not in {cache.parent}")
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in line
    assert "init=checkpoint init.path=" in line


@pytest.mark.parametrize(
    ("model", "message"),
    [(None, "init=timm: the encoder is not of timm"), ("resnet18", "encoder.model=resnet18: init=timm needs the tag")],
)
def test_a_model_without_weights_is_one_line(model: str | None, message: str) -> None:
    with pytest.raises(RunError, match=message):
        init.timm(model)


def test_a_missing_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match="huggingface_hub is not installed"):
        find_weights("resnet18.a1_in1k")


class Refusing(BaseHTTPRequestHandler):
    """A hub that has no file."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def refusing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a hub that answers 404 the hub of the client."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda repository, name: f"{address}/{repository}/{name}")


def test_a_misspelt_name_is_one_line_with_a_suggestion(refusing: None) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    with pytest.raises(RunError, match=r"^encoder\.model=resnt50\.a1_in1k: timm has no weights of this name") as caught:
        find_weights("resnt50.a1_in1k")
    assert "Did you mean resnet50.a1_in1k" in str(caught.value)


def test_a_hub_that_does_not_answer_is_left_in_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(RunError, match=r"the download failed \(no answer: .*timed out\)"):
            find_weights("resnet18.a1_in1k")
        assert time.monotonic() - began < 5


class Hub(BaseHTTPRequestHandler):
    """The parts of the hub's protocol that an upload of small files needs; the server keeps what it gets."""

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        received = self.server.received  # type: ignore[attr-defined]
        received.append((self.path, content))
        if self.path.startswith("/api/repos/create"):
            self.answer({"url": "https://huggingface.co/someone/model"})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            self.answer(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
            )
        elif "/commit/" in self.path:
            self.answer(
                {"success": True, "commitUrl": "https://huggingface.co/someone/model/commit/1", "commitOid": "1"}
            )
        else:
            self.answer({})

    def answer(self, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_an_export_is_uploaded_to_a_private_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "timm"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / WEIGHTS).write_bytes(b"weights")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.received = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert push_folder(folder, "someone/model") == f"{address}/someone/model"
        server.shutdown()
    received = dict(server.received)  # type: ignore[attr-defined]
    created = json.loads(received["/api/repos/create"])
    assert (created["name"], created["organization"]) == ("model", "someone")
    assert created.get("private", created.get("visibility")) in (True, "private")
    (commit,) = [content for path, content in received.items() if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert files == {"config.json": b"{}", WEIGHTS: b"weights"}


def test_a_failed_upload_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(RunError, match=r"^stage\.push_to_hub=someone/model: the upload failed \(") as caught:
            push_folder(tmp_path, "someone/model")
        server.shutdown()
    assert str(caught.value).endswith(f"and repeat; the files are in {tmp_path}.")
    assert "\n" not in str(caught.value)
