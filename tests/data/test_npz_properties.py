"""Whatever bytes an .npz file holds, reading it gives images or one error in one line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from simclr_med.data.npz import Npz
from simclr_med.data.source import ImageSet
from simclr_med.errors import DataError

pytestmark = pytest.mark.fuzz

KEYS = ("train_images", "train_labels", "val_images", "val_labels")
PLAIN = ["|u1", "<i8", ">i4", "<f4", "<c16", "|b1", "<U3", "|S0", "|V5", "|O", "<M8[s]"]
DESCRIPTIONS = [*PLAIN, [("a", "<u1"), ("b", "<f4", (2, 3))]]
DTYPES = st.one_of(st.sampled_from(DESCRIPTIONS), numpy_strategies.scalar_dtypes().map(np.lib.format.dtype_to_descr))
SHAPES = st.one_of(
    st.sampled_from([(12, 8, 8), (12, 8, 8, 3), (12, 1), (12,)]),
    st.lists(st.integers(-2, 12) | st.integers(-(2**70), 2**70), max_size=70).map(tuple),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "mine.npz"


def intact() -> bytes:
    content = io.BytesIO()
    images = np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8)
    arrays = {key: images if "images" in key else np.arange(12) % 3 for key in KEYS}
    np.savez_compressed(content, **arrays)
    return content.getvalue()


INTACT = intact()


def check(file: Path) -> None:
    source = Npz("mine", str(file), None, None)
    for split in ("train", "val"):
        try:
            found = source.split(split)
        except DataError as error:
            (line,) = error.problems
            assert line.startswith(str(file))
            assert "\n" not in line
            assert len(line) < len(str(file)) + 2000
        else:
            assert isinstance(found, ImageSet)
            assert found.images.dtype == np.uint8
            assert found.images.ndim == 4


def array(shape: tuple[int, ...], descr: object, fortran: bool, body: bytes) -> bytes:
    """An .npy file, whose header may be impossible."""
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def size(shape: tuple[int, ...], descr: object) -> int:
    try:
        return int(np.prod(shape, dtype=object)) * np.lib.format.descr_to_dtype(descr).itemsize
    except (TypeError, ValueError):
        return 0


@given(
    st.dictionaries(
        st.sampled_from(KEYS), st.tuples(SHAPES, DTYPES, st.booleans(), st.binary(max_size=20)), min_size=1
    ),
    st.booleans(),
)
def test_any_header(file: Path, heads, fitting) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for key, (shape, descr, fortran, body) in heads.items():
            if len(repr((shape, descr))) > 60_000:
                continue
            fits = fitting and 0 <= size(shape, descr) < 1 << 20
            archive.writestr(f"{key}.npy", array(shape, descr, fortran, bytes(size(shape, descr)) if fits else body))
    check(file)


@given(st.binary(max_size=300))
def test_any_text_as_header(file: Path, text) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    check(file)


@given(st.integers(0, len(INTACT) - 1), st.integers(1, 255), st.none() | st.integers(0, len(INTACT)))
@example(27, 3, None)  # a header whose file name runs into the data
def test_any_flipped_byte_or_end(file: Path, place, change, end) -> None:
    content = bytearray(INTACT)
    content[place] ^= change
    file.write_bytes(content[:end])
    check(file)


@given(st.binary(max_size=200))
def test_any_bytes(file: Path, content) -> None:
    file.write_bytes(content)
    check(file)
    file.write_bytes(INTACT + content)
    check(file)
