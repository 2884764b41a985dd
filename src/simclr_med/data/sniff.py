"""Describe the content of a file by its first bytes, for error messages."""

from __future__ import annotations

from pathlib import Path

_SIGNATURES = (
    (b"PK\x03\x04", "cut short or damaged"),
    (b"\x93NUMPY", "a single array (.npy)"),
    (b"\x80", "a pickle"),
    (b"\x1f\x8b", "a gzip archive, which must be unpacked first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def describe_content(file: Path) -> str:
    """Return the kind of content in words, for example ``a web page``."""
    with open(file, "rb") as handle:
        start = handle.read(512)
    if not start:
        return "empty"
    for signature, description in _SIGNATURES:
        if start.startswith(signature):
            return description
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "text" if _is_text(start) else "of an unknown type"


def _is_text(start: bytes) -> bool:
    has_control_bytes = not all(byte in b"\t\n\r" or byte >= 32 for byte in start)
    # the last character may be cut
    return not has_control_bytes and "\ufffd" not in start[:-4].decode("utf-8", "replace")
