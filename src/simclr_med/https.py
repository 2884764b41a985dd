"""Open addresses only with TLS: without it, anybody on the network path could send another response."""

from __future__ import annotations

import urllib.request
from http.client import HTTPMessage
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "::1", "localhost")  # no network: the user's own mirror, or a test


def open_url(url: str, headers: dict[str, str], timeout_s: float) -> Any:
    """Return the server's response, an `http.client.HTTPResponse`; certificates are verified.

    Args:
        url: https, or http of this machine.
        headers: of the request.
        timeout_s: seconds without data after which reading fails.

    Raises:
        InsecureUrl: the address, or one that it redirects to, has no TLS.
        OSError, HTTPException: as in `urllib.request.urlopen`.
    """
    _check(url)
    opener = urllib.request.build_opener(_SecureRedirects())
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)


class InsecureUrl(URLError):
    """An address without TLS."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} has no TLS; expected an address that begins with https://")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str) -> None:
    address = urlsplit(url)
    is_local = address.scheme == "http" and address.hostname in _LOOPBACK
    if address.scheme != "https" and not is_local:
        raise InsecureUrl(url)
