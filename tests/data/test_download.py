"""Downloads from a local server with configurable faults."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from simclr_med.data.download import download
from simclr_med.errors import DataError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()
MOST = len(CONTENT)
QUICK = {"tries": 3, "stall_s": 0.3, "backoff_s": 0.01}


class Server(ThreadingHTTPServer):
    """A server that responds to each request with the next behaviour of a list and then repeats the last one."""

    daemon_threads = True

    def __init__(self, *behaviours: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours = list(behaviours) or ["whole"]
        self.ranges: list[str | None] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.npz?download=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            behaviours = self.server.behaviours
            behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
            self.server.ranges.append(self.headers.get("Range"))
        if behaviour.startswith("http"):
            self.send_response(302)
            self.send_header("Location", behaviour)
            self.end_headers()
            return
        if behaviour.isdigit():
            self.send_error(int(behaviour))
            return
        content = CONTENT[::-1] if behaviour == "wrong" else CONTENT
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers and "no range" not in behaviour else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if behaviour != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:]
        if behaviour.startswith(("cut", "stall")):
            part = part[: len(part) // 2]
        if behaviour == "slow":
            time.sleep(0.2)
        self.wfile.write(part * 2 if behaviour == "endless" else part)
        self.wfile.flush()
        if behaviour == "stall":
            time.sleep(1)
        self.close_connection = True


@pytest.fixture
def serve() -> Iterator:
    servers = []

    def start(*behaviours: str) -> Server:
        server = Server(*behaviours)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_file_is_downloaded_into_a_new_folder(serve, tmp_path: Path) -> None:
    target = tmp_path / "new" / "größer 血.npz"
    download(serve().url, MD5, target, MOST, **QUICK)
    assert target.read_bytes() == CONTENT
    assert list_files(target.parent) == [target.name]


@pytest.mark.parametrize("first", ["cut", "stall", "503", "429"])
def test_broken_connection_is_resumed(serve, tmp_path: Path, first) -> None:
    server = serve(first, "whole")
    download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-" if first in ("cut", "stall") else None]
    assert list_files(tmp_path) == ["set.npz"]


def test_server_without_ranges_starts_again(serve, tmp_path: Path) -> None:
    download(serve("cut", "no range").url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT


def test_wrong_md5_is_downloaded_again_once(serve, tmp_path: Path) -> None:
    server = serve("wrong", "whole")
    download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT
    assert len(server.ranges) == 2


@pytest.mark.parametrize(
    ("behaviour", "reason", "requests", "files"),
    [
        ("wrong", f"MD5 {hashlib.md5(CONTENT[::-1]).hexdigest()}", 2, []),
        ("404", "HTTP 404", 1, []),
        ("500", "HTTP 500", 3, []),
        ("cut, no range", "connection was closed", 3, ["set.npz.part"]),
        ("stall", "no data for too long", 3, ["set.npz.part"]),
    ],
)
def test_failure_is_one_line_with_a_remedy(serve, tmp_path: Path, behaviour, reason, requests, files) -> None:
    server = serve(behaviour)
    with pytest.raises(DataError) as error:
        download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    (line,) = error.value.problems
    assert "\n" not in line
    for expected in (reason, server.url, MD5, str(tmp_path / "set.npz")):
        assert expected in line
    assert len(server.ranges) == requests
    assert list_files(tmp_path) == files


def test_no_network_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    server = Server()
    url = server.url
    server.server_close()
    with pytest.raises(DataError, match=f"Connection refused.*{MD5}"):
        download(url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    with pytest.raises(DataError, match="nowhere has no TLS"):
        download("nowhere", MD5, tmp_path / "set.npz", MOST, **QUICK)


def test_later_call_resumes_an_unfinished_download(serve, tmp_path: Path) -> None:
    (tmp_path / "set.npz.part").write_bytes(CONTENT[:1000])
    server = serve()
    download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "set.npz").read_bytes() == CONTENT


def test_complete_part_needs_no_further_byte(serve, tmp_path: Path) -> None:
    (tmp_path / "set.npz.part").write_bytes(CONTENT)
    download(serve().url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert list_files(tmp_path) == ["set.npz"]


def test_part_of_another_file_is_replaced(serve, tmp_path: Path) -> None:
    (tmp_path / "set.npz.part").write_bytes(b"x" * 1000)
    download(serve().url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT


def test_eight_threads_download_once(serve, tmp_path: Path) -> None:
    server = serve("slow")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK), range(8)))
    assert len(server.ranges) == 1
    assert (tmp_path / "set.npz").read_bytes() == CONTENT


def test_full_disk_is_an_error(serve, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device"):
        download(serve().url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert not (tmp_path / "set.npz").exists()


@pytest.mark.parametrize("url", ["http://example.org/set.npz", "ftp://127.0.0.1/set.npz", "file:///etc/passwd"])
def test_address_without_tls_is_refused(tmp_path: Path, url) -> None:
    with pytest.raises(DataError, match=f"{url} has no TLS; expected an address that begins with https://"):
        download(url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert list_files(tmp_path) == []


def test_redirect_without_tls_is_refused_at_once(serve, tmp_path: Path) -> None:
    server = serve("http://example.org/set.npz")
    with pytest.raises(DataError, match=r"http://example.org/set.npz has no TLS"):
        download(server.url, MD5, tmp_path / "set.npz", MOST, **QUICK)
    assert len(server.ranges) == 1


@pytest.mark.parametrize(("behaviour", "most"), [("whole", MOST - 1), ("endless", MOST), ("cut", MOST - 1)])
def test_larger_file_is_refused_and_deleted(serve, tmp_path: Path, behaviour, most) -> None:
    server = serve(behaviour)
    with pytest.raises(DataError, match=f"the server sends more than {most} bytes"):
        download(server.url, MD5, tmp_path / "set.npz", most, **QUICK)
    assert len(server.ranges) == 1
    assert list_files(tmp_path) == []
