"""Small files that announce huge arrays or images, and files that are no regular ones: one line, little memory."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from simclr_med.data.decoding import decode_image
from simclr_med.data.intensity import FULL
from simclr_med.data.npz import Npz
from simclr_med.data.patients import read_patients
from simclr_med.errors import DataError

MIB = 1 << 20
MOST_TRACED = 64 * MIB  # of numpy and Python; the files announce gigabytes


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


def zeros_npz(path: Path, method: int = zipfile.ZIP_DEFLATED, **heads: tuple[bytes, int]) -> Path:
    """Write arrays of zeros: each a header and the number of bytes behind it."""
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for key, (head, size) in heads.items():
            with archive.open(f"{key}.npy", "w") as member:
                member.write(head)
                for _ in range(size // MIB):
                    member.write(bytes(MIB))
                member.write(bytes(size % MIB))
    return path


def one_line(read: Callable[[], object]) -> str:
    """Read, and return the single line of the error; it may not allocate much."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            read()
        assert tracemalloc.get_traced_memory()[1] < MOST_TRACED
    finally:
        tracemalloc.stop()
    (line,) = error.value.problems
    assert "\n" not in line
    return line


IMAGES = (header((12, 8, 8)), 12 * 64)
WIDE = 257 * MIB


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"train_images": (header((WIDE // 64, 8, 8)), WIDE)}, "more than 100 times as many"),
        ({"train_images": IMAGES, "train_labels": (header((40_000_000,)), 40_000_000)}, "at most 34 million labels"),
        ({"train_images": (b"\x93NUMPY\x02\x00" + struct.pack("<I", WIDE), WIDE)}, "its header has 269484032 bytes"),
        ({"train_images": (header((-3, -4, 64)), 768)}, "impossible shape, [-3, -4, 64]"),
        ({"train_images": (header((0, 1 << 70, 8)), 0)}, "impossible shape"),
        ({"train_images": (header((1,) * 65), 1)}, "65 dimensions"),
        ({"train_images": IMAGES, "train_labels": (header((12,), "<c16"), 192)}, "=complex128: expected integers"),
        ({"train_images": (header((12, 8, 8), ">f8"), 12 * 512)}, "=>f8: expected uint8"),
    ],
)
def test_array_that_announces_too_much(tmp_path: Path, arrays, rule) -> None:
    file = zeros_npz(tmp_path / "mine.npz", **arrays)
    key = list(arrays)[-1]
    assert file.stat().st_size < 2 * MIB
    line = one_line(lambda: Npz("mine", str(file), None, None).split("train"))
    assert line.startswith(f"{file}[{key}]")
    assert rule in line


def test_structured_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", train_images=np.zeros(12, [("a", "u1"), ("b", "f4", (3, 3))]))
    line = one_line(lambda: Npz("mine", str(tmp_path / "mine.npz"), None, None).split("train"))
    assert "=a structured array: expected uint8" in line


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compression_that_savez_does_not_use(tmp_path: Path, method) -> None:
    file = zeros_npz(tmp_path / "mine.npz", method, train_images=IMAGES)
    line = one_line(lambda: Npz("mine", str(file), None, None).split("train"))
    assert "which numpy.savez does not use" in line


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("train_images.npy", IMAGES[0] + bytes(IMAGES[1]))
        archive.writestr("train_images", IMAGES[0] + bytes(IMAGES[1]))
    line = one_line(lambda: Npz("mine", str(tmp_path / "mine.npz"), None, None).split("train"))
    assert "[train_images]: not an intact .npz file (it has two arrays of this name)" in line


def test_many_arrays_are_not_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        for number in range(100):
            archive.writestr(f"a{number:03}.npy", b"")
    line = one_line(lambda: Npz("mine", str(tmp_path / "mine.npz"), None, None).split("train"))
    assert "a000, a001" in line
    assert "88 more" in line


def test_list_of_a_million_arrays_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 100 * MIB, 0, 0)
    with open(file, "wb") as stream:
        stream.truncate(100 * MIB)  # a sparse file
        stream.seek(0, os.SEEK_END)
        stream.write(end)
    assert "not an intact .npz file" in one_line(lambda: Npz("mine", str(file), None, None).split("train"))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int) -> bytes:
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "found"), [(9000, "9000 x 9000"), (13_000, "13000 x 13000"), (65_500, "many more")])
@pytest.mark.filterwarnings("ignore:Image size")
def test_image_with_too_many_pixels(tmp_path: Path, side, found) -> None:
    (tmp_path / "a.png").write_bytes(png(side, side))
    line = one_line(lambda: decode_image(tmp_path / "a.png", 8, 3, FULL))
    expected = f"expected at most 67 million pixels, found {found}. Convert or remove the file."
    assert line == f"{tmp_path / 'a.png'}: {expected}"


def test_colour_tiff_that_unpacks_to_more_than_it_announces(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((8, 8, 3), np.uint16), photometric="rgb", compression="deflate")
    with tifffile.TiffFile(file) as tiff:
        tags = {name: tiff.pages.first.tags[name] for name in ("StripOffsets", "StripByteCounts")}
        places = {name: (tag.valueoffset, tag.dtype.name) for name, tag in tags.items()}
    bomb = zlib.compress(bytes(100 * MIB), 1)
    content = bytearray(file.read_bytes())
    for name, value in (("StripOffsets", len(content)), ("StripByteCounts", len(bomb))):
        offset, kind = places[name]
        content[offset : offset + 4] = struct.pack("<I" if kind == "LONG" else "<HH", value)
    file.write_bytes(content + bomb)
    line = one_line(lambda: decode_image(file, 8, 3, FULL))
    assert "it unpacks to more bytes than it announces" in line


def test_pages_are_not_all_counted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    assert "found 10 or more pages" in one_line(lambda: decode_image(tmp_path / "a.tif", 8, 3, FULL))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000"])
def test_other_formats_do_not_pass_as_png(tmp_path: Path, kind) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", format=kind)
    line = one_line(lambda: decode_image(tmp_path / "a.png", 8, 3, FULL))
    assert line.startswith(f"{tmp_path / 'a.png'}: not a readable image (it is ")
    assert line.endswith("Accepted formats: PNG, JPEG, BMP, TIFF.")


def test_no_program_is_started_for_an_eps_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "started"
    for name in ("gs", "gswin64c", "gswin32c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    assert "(it is an EPS file)" in one_line(lambda: decode_image(tmp_path / "a.png", 8, 3, FULL))
    assert not mark.exists()
    with Image.open(tmp_path / "a.png") as image, suppress(OSError):  # the program writes no image
        image.load()
    assert mark.exists(), "the test's EPS file starts no program"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="requires pipes")
@pytest.mark.parametrize("name", ["pipe.npz", "zero.npz"])
def test_pipe_or_device_is_not_opened(tmp_path: Path, name) -> None:
    file = tmp_path / name
    os.mkfifo(file) if "pipe" in name else file.symlink_to("/dev/zero")
    rule = f"{file}: expected a regular file, found a pipe, socket or device. Check the path."
    assert one_line(lambda: Npz("mine", str(file), None, None).content_hash()) == rule
    assert one_line(lambda: Npz("mine", str(file), None, None).split("train")) == rule
    assert "not a regular file" in one_line(lambda: decode_image(file, 8, 3, FULL))
    assert "not a regular file" in one_line(lambda: read_patients(file, ["a.png"]))
