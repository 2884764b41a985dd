"""What a file that is no .npz looks like, by its first bytes; for messages alone."""

from __future__ import annotations

from pathlib import Path

_BEGINNINGS = (
    (b"PK\x03\x04", "cut short or damaged"),
    (b"\x93NUMPY", "a single array, an .npy"),
    (b"\x80", "a pickle"),
    (b"\x1f\x8b", "a gzip archive, to be unpacked first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def sniff_image(file: Path) -> str:
    """The file's kind in words, as ``a web page``."""
    with open(file, "rb") as handle:
        start = handle.read(512)
    if not start:
        return "empty"
    for beginning, words in _BEGINNINGS:
        if start.startswith(beginning):
            return words
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "text" if all(byte in b"\t\n\r" or byte >= 32 for byte in start) and _decodes(start) else "of no known kind"


def _decodes(start: bytes) -> bool:
    return "\ufffd" not in start[:-4].decode("utf-8", "replace")
