"""Download one file with TLS: resumed after a break, bounded, verified by its MD5, and shared by all processes."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from simclr_med.atomic import sync_folder
from simclr_med.data.progress import print_message, show_progress
from simclr_med.errors import DataError, write_advice
from simclr_med.https import InsecureUrl, open_url

BLOCK = 1 << 18  # bytes read at a time
STEADY = 1 << 20  # bytes: an attempt that receives this much is not counted as a failure
TEMPORARY = (408, 425, 429)  # HTTP statuses below 500 that allow another attempt

Progress = Callable[[int, int | None], None]  # (bytes received, bytes in total or None)


class _AttemptError(Exception):
    """A failed attempt; ``is_final`` if another attempt would fail for the same reason."""

    def __init__(self, reason: str, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class _Wanted(NamedTuple):
    """The arguments of `download`, with the path of the unfinished file."""

    url: str
    md5: str
    part: Path
    most_bytes: int
    tries: int
    stall_s: float
    backoff_s: float


def download(
    url: str, md5: str, target: Path, most_bytes: int, *, tries: int = 4, stall_s: float = 20.0, backoff_s: float = 1.0
) -> None:
    """Download a file if it is missing; the target exists only if the file is complete and its MD5 is correct.

    An unfinished download stays in ``<target>.part``. The next attempt, in this call or a later one, resumes it if the
    server supports ranges.

    Args:
        url: https, or http of this machine.
        md5: expected hex digest. A file with another digest is downloaded once more.
        target: path of the file; its folder is created. One process downloads, other processes wait for it.
        most_bytes: size that the file cannot exceed; the download fails if the server sends more.
        tries: limit of consecutive attempts that each receive less than 1 MiB.
        stall_s: seconds without data after which an attempt fails.
        backoff_s: seconds before the second attempt; doubled for each further attempt.

    Raises:
        DataError: the download failed; the message has URL, MD5 and path for a manual download.
    """
    from filelock import FileLock, Timeout

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print_message(f"{target.name}: waiting for another process that downloads it")
            lock.acquire()
        try:
            if not target.exists():
                part = target.with_name(f"{target.name}.part")
                _download_verified(_Wanted(url, md5, part, most_bytes, tries, stall_s, backoff_s), target)
        finally:
            lock.release()
    except _AttemptError as error:
        raise DataError(
            f"{target}: the download failed ({error}). "
            f"Try again, or download {url} (MD5 {md5}) by hand and save it there as {target.name}."
        ) from error
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error}). {write_advice(error)}, "
            f"choose another paths.data, or download {url} (MD5 {md5}) by hand and save it there."
        ) from error


def _download_verified(wanted: _Wanted, target: Path) -> None:
    """Download until the MD5 is correct, from the start again after one wrong MD5."""
    part = wanted.part
    with show_progress(f"Downloading {target.name}") as update:
        for is_second in (False, True):
            _download_all(wanted, update)
            found = _hash_and_sync(part)
            if found == wanted.md5:
                os.replace(part, target)
                sync_folder(target.parent)
                return
            part.unlink()
            if is_second:
                raise _AttemptError(f"the downloaded file has the MD5 {found}")


def _hash_and_sync(part: Path) -> str:
    """Return the MD5 of the file and flush it to the disk."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(part, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _download_all(wanted: _Wanted, update: Progress) -> None:
    """Repeat attempts until part has the last byte."""
    part = wanted.part
    failures = 0
    furthest = _measure_length(part)
    while True:
        try:
            return _attempt(wanted, update)
        except _AttemptError as error:
            received = _measure_length(part)
            if received == 0:
                part.unlink(missing_ok=True)
            if received >= furthest + STEADY:
                failures = 0
                furthest = received
            failures += 1
            if error.is_final or failures >= wanted.tries:
                raise
            time.sleep(wanted.backoff_s * 2 ** (failures - 1))


def _attempt(wanted: _Wanted, update: Progress) -> None:
    """Open one connection and append to part; start over if the server does not support ranges."""
    part = wanted.part
    start = _measure_length(part)
    response = _open_connection(wanted.url, start, wanted.stall_s)
    if response is None:
        return
    with response:
        is_resumed = response.status == http.client.PARTIAL_CONTENT
        if is_resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise _AttemptError("the server resumed at a wrong position")
        received = start if is_resumed else 0
        announced = response.headers.get("Content-Length", "")
        total = received + int(announced) if announced.isdecimal() else None
        _check_size(wanted, total or 0)
        with open(part, "ab" if is_resumed else "wb") as file:
            while block := _read_block(response):
                received += len(block)
                _check_size(wanted, received)
                file.write(block)
                update(received, total)
        if total is not None and received != total:
            raise _AttemptError(f"the connection was closed after {received} of {total} bytes")


def _check_size(wanted: _Wanted, size: int) -> None:
    """Delete what was received and raise if the file is larger than it can be."""
    if size > wanted.most_bytes:
        wanted.part.unlink(missing_ok=True)
        raise _AttemptError(f"the server sends more than {wanted.most_bytes} bytes", is_final=True)


def _open_connection(url: str, start: int, stall_s: float) -> http.client.HTTPResponse | None:
    """Return the server's response from byte start on; None if there are no further bytes."""
    headers = {"User-Agent": "simclr-med", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return cast(http.client.HTTPResponse, open_url(url, headers, stall_s))
    except InsecureUrl as error:
        raise _AttemptError(str(error.reason), is_final=True) from error
    except urllib.error.HTTPError as error:
        is_unsatisfiable = error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE
        if is_unsatisfiable and error.headers.get("Content-Range", "") == f"bytes */{start}":
            return None
        is_final = error.code < 500 and error.code not in TEMPORARY
        raise _AttemptError(f"HTTP {error.code} {error.reason}", is_final) from error
    except urllib.error.URLError as error:
        raise _AttemptError(_describe_failure(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _AttemptError(_describe_failure(error)) from error
    except ValueError as error:
        raise _AttemptError(str(error), is_final=True) from error


def _read_block(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)  # read() would lose the bytes received before a stall
    except (OSError, http.client.HTTPException) as error:
        raise _AttemptError(_describe_failure(error)) from error


def _describe_failure(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return f"no network, or unknown server: {reason.strerror}"
    if isinstance(reason, TimeoutError):
        return "the server sent no data for too long"
    return (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__


def _measure_length(file: Path) -> int:
    """Return the file's length in bytes, 0 if it is missing."""
    return file.stat().st_size if file.exists() else 0
