"""Describe the content of a file by its first bytes, for error messages."""

from __future__ import annotations

from pathlib import Path

from simclr_med.safe_files import open_regular

_SIGNATURES = (
    (b"PK\x03\x04", "cut short or damaged"),
    (b"\x93NUMPY", "a single array (.npy)"),
    (b"\x80", "a pickle"),
    (b"\x1f\x8b", "a gzip archive, which must be unpacked first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"GIF8", "a GIF image"),
    (b"%!PS", "an EPS file"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (b"%PDF", "a PDF file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x00\x00\x01\x00", "an icon (.ico)"),
)


def is_dicom(file: Path) -> bool:
    """Return whether a file has the mark of DICOM's file format; False if it cannot be read."""
    try:
        with open_regular(file) as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def describe_content(file: Path) -> str:
    """Return the kind of content in words, for example ``a web page``."""
    with open(file, "rb") as handle:
        start = handle.read(512)
    if not start:
        return "empty"
    for signature, description in _SIGNATURES:
        if start.startswith(signature):
            return description
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP image"
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "text" if _is_text(start) else "of an unknown type"


def _is_text(start: bytes) -> bool:
    has_control_bytes = not all(byte in b"\t\n\r" or byte >= 32 for byte in start)
    # the last character may be cut
    return not has_control_bytes and "\ufffd" not in start[:-4].decode("utf-8", "replace")
