"""One file from the network: whole, checked and fetched once, however many processes want it and however it breaks."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import cast

from simclr_med.atomic import sync_folder
from simclr_med.data.progress import progress, say
from simclr_med.errors import DataError

BLOCK = 1 << 18
STEADY = 1 << 20  # bytes: an attempt that brings this much further is no failed one
TEMPORARY = (408, 425, 429)  # HTTP statuses below 500 that are worth another try


class _Broken(Exception):
    """An attempt that failed; ``final`` when another one would fail alike."""

    def __init__(self, why: str, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


def download(
    url: str, md5: str, target: Path, *, tries: int = 4, stall_s: float = 20.0, backoff_s: float = 1.0
) -> None:
    """Fetch a file unless it is there; it appears under its name only when complete and of the right MD5.

    What has come stays in ``<target>.part`` when the connection breaks, and the next attempt (of this call or a later
    one) goes on from there if the server lets it.

    Args:
        url: http or https.
        md5: hex digest that the bytes must have. Wrong ones are fetched again once.
        target: where to; its folder is made. Processes that want it at once wait for the one that fetches it.
        tries: attempts in a row that bring less than 1 MiB.
        stall_s: seconds without a byte after which an attempt is given up.
        backoff_s: seconds before the second attempt; doubled for each further one.

    Raises:
        DataError: one sentence with URL, MD5 and where to put the file by hand.
    """
    from filelock import FileLock, Timeout

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{target.name}: waiting for another process that downloads it")
            lock.acquire()
        try:
            if not target.exists():
                _fetch(url, md5, target, tries, stall_s, backoff_s)
        finally:
            lock.release()
    except _Broken as error:
        raise DataError(
            f"{target}: must be downloaded, which failed ({error}). "
            f"Try again, or put {url} (MD5 {md5}) there by hand as {target.name}."
        ) from error
    except OSError as error:
        raise DataError(
            f"{target}: must be a place to write to ({error.strerror or error}). Mend that, choose another paths.data, "
            f"or put {url} (MD5 {md5}) there by hand."
        ) from error


def _fetch(url: str, md5: str, target: Path, tries: int, stall_s: float, backoff_s: float) -> None:
    part = target.with_name(f"{target.name}.part")
    with progress(f"Downloading {target.name}") as show:
        for fresh in (False, True):
            _complete(url, part, tries, stall_s, backoff_s, show)
            digest = hashlib.md5(usedforsecurity=False)
            with open(part, "rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                os.fsync(file.fileno())
            if digest.hexdigest() == md5:
                os.replace(part, target)
                sync_folder(target.parent)
                return
            part.unlink()
            if fresh:
                raise _Broken(f"its bytes have the MD5 {digest.hexdigest()}")


def _complete(
    url: str, part: Path, tries: int, stall_s: float, backoff_s: float, show: Callable[[int, int | None], None]
) -> None:
    """Attempts, until one has brought the last byte into part."""
    failures, furthest = 0, _length(part)
    while True:
        try:
            return _attempt(url, part, stall_s, show)
        except _Broken as error:
            if _length(part) == 0:
                part.unlink(missing_ok=True)
            if _length(part) >= furthest + STEADY:
                failures, furthest = 0, _length(part)
            failures += 1
            if error.final or failures >= tries:
                raise
            time.sleep(backoff_s * 2 ** (failures - 1))


def _attempt(url: str, part: Path, stall_s: float, show: Callable[[int, int | None], None]) -> None:
    """One connection that goes on where part ends, or from the start when the server does not go on."""
    have = _length(part)
    response = _opened(url, have, stall_s)
    if response is None:
        return
    with response:
        continued = response.status == http.client.PARTIAL_CONTENT
        if continued and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _Broken("the server went on at another byte")
        have = have if continued else 0
        announced = response.headers.get("Content-Length")
        total = None if announced is None else have + int(announced)
        with open(part, "ab" if continued else "wb") as file:
            while block := _received(response):
                file.write(block)
                have += len(block)
                show(have, total)
        if total is not None and have != total:
            raise _Broken(f"the connection was cut after {have} of {total} bytes")


def _opened(url: str, have: int, stall_s: float) -> http.client.HTTPResponse | None:
    """The server's answer from byte ``have`` on; None when there are no further bytes."""
    headers = {"User-Agent": "simclr-med", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        return cast(http.client.HTTPResponse, urllib.request.urlopen(request, timeout=stall_s))
    except urllib.error.HTTPError as error:
        unsatisfiable = error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE
        if unsatisfiable and error.headers.get("Content-Range", "") == f"bytes */{have}":
            return None
        final = error.code < 500 and error.code not in TEMPORARY
        raise _Broken(f"HTTP {error.code} {error.reason}", final) from error
    except urllib.error.URLError as error:
        raise _Broken(_told(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_told(error)) from error
    except ValueError as error:
        raise _Broken(str(error), final=True) from error


def _received(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)  # what is there: read() would lose what came before a stall
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_told(error)) from error


def _told(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return f"no network, or the server is unknown: {reason.strerror}"
    if isinstance(reason, TimeoutError):
        return "the server sent nothing for too long"
    return (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
