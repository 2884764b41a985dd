"""Read arrays from an .npz file without ever opening a pickle."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from simclr_med.data.file_errors import describe_read_error
from simclr_med.data.limits import MOST_HEADER_BYTES, MOST_RATIO, UNLIMITED_RATIO_BYTES
from simclr_med.data.sniff import describe_content
from simclr_med.errors import DataError
from simclr_med.safe_files import open_zip

BLOCK = 1 << 20  # bytes read at a time
SHOWN_KEYS = 12  # names of arrays in a message
LONGEST_REASON = 300  # characters of a library's message, which may quote the file
MOST_DIMENSIONS = 32  # numpy's limit before version 2

# What zipfile and numpy raise for a damaged, foreign or encrypted archive.
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Header(NamedTuple):
    """Shape, type and memory order of an array, known without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def list_keys(file: Path) -> tuple[str, ...]:
    """Return the names of the arrays in an .npz file.

    Raises:
        DataError: the file is missing or damaged.
    """
    with _open_zip(file) as archive:
        return _list_names(archive)


def read_header(file: Path, key: str) -> Header:
    """Return shape and type of one array, from the first bytes of its zip member.

    Raises:
        DataError: as for `read`.
    """
    with _open_zip(file) as archive, _open_member(archive, file, key) as (_, header):
        return header


def read(file: Path, key: str) -> np.ndarray:
    """Return one array of an .npz file, in memory and in C order.

    Raises:
        DataError: the file or the key is missing, the file is damaged, or the array contains objects (a pickle), which
            is not opened.
    """
    with _open_zip(file) as archive, _open_member(archive, file, key) as (member, header):
        shape = header.shape[::-1] if header.fortran_order else header.shape
        array = np.empty(shape, header.dtype)
        target = array.reshape(-1).view(np.uint8).data
        for block in _read_member(member, file, key, header.nbytes):
            target[: len(block)] = block
            target = target[len(block) :]
        return np.ascontiguousarray(array.T) if header.fortran_order else array


def read_blocks(file: Path, key: str) -> Iterator[bytes]:
    """Yield the bytes of one array in order, without holding the array in memory.

    Raises:
        DataError: as for `read`.
    """
    with _open_zip(file) as archive, _open_member(archive, file, key) as (member, header):
        yield from _read_member(member, file, key, header.nbytes)


def _damage_error(file: Path, key: str | None, reason: object) -> DataError:
    where = f"{file}[{key}]" if key else str(file)
    text = " ".join(str(reason).split())[:LONGEST_REASON] or type(reason).__name__
    return DataError(
        f"{where}: not an intact .npz file ({text}). Copy or download it again, or save it again with numpy.savez."
    )


def _pickle_error(file: Path, key: str | None = None) -> DataError:
    where = f"{file}[{key}]" if key else str(file)
    return DataError(
        f"{where}: contains a pickle, which can run code; it was not opened. Save arrays of numbers with numpy.savez."
    )


def _list_names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(name.removesuffix(".npy") for name in archive.namelist())


@contextmanager
def _open_zip(file: Path) -> Iterator[zipfile.ZipFile]:
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(file))
        except DAMAGE_ERRORS as error:
            content = describe_content(file)
            reason = error if str(error).startswith("its") else f"it is {content}"
            problem = _pickle_error(file) if content == "a pickle" else _damage_error(file, None, reason)
            raise problem from error
        except OSError as error:
            raise describe_read_error(file, error) from error
        names = _list_names(archive)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _damage_error(file, twice, "it has two arrays of this name")
        yield archive


@contextmanager
def _open_member(archive: zipfile.ZipFile, file: Path, key: str) -> Iterator[tuple[IO[bytes], Header]]:
    """Open one array; yield its stream, positioned behind the header, and the header."""
    names = archive.namelist()
    name = f"{key}.npy" if f"{key}.npy" in names else key
    if name not in names:
        raise DataError(
            f"{file}[{key}]: array not found; the file has {_shorten(_list_names(archive))}. "
            "Save the array under this name."
        )
    with ExitStack() as stack:
        try:
            info = archive.getinfo(name)
            _check_compression(info)
            member = stack.enter_context(archive.open(name))
            header = _parse_header(member)
        except DAMAGE_ERRORS as error:
            raise _damage_error(file, key, error) from error
        except OSError as error:
            raise _damage_error(file, key, error.strerror or error) from error
        if header.dtype.hasobject:
            raise _pickle_error(file, key)
        stored = info.file_size - member.tell()
        if stored != header.nbytes:
            raise _damage_error(file, key, f"the header announces {header.nbytes} bytes, the file has {stored}")
        packed = min(info.compress_size, file.stat().st_size)
        if header.nbytes > max(UNLIMITED_RATIO_BYTES, MOST_RATIO * packed):
            raise DataError(
                f"{file}[{key}]={list(header.shape)}: {packed} bytes of the file would unpack to {header.nbytes}, "
                f"more than {MOST_RATIO} times as many. Images and labels do not compress so well. Save the array with "
                "numpy.savez."
            )
        yield member, header


def _shorten(names: tuple[str, ...]) -> str:
    """Return some names in one line."""
    shown = [ascii(name)[1:-1][:40] if not name.isprintable() else name[:40] for name in sorted(names)[:SHOWN_KEYS]]
    more = [f"{len(names) - SHOWN_KEYS} more"] if len(names) > SHOWN_KEYS else []
    return ", ".join(shown + more) or "no arrays"


def _check_compression(info: zipfile.ZipInfo) -> None:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"it is compressed by method {info.compress_type} of zip, which numpy.savez does not use")


def _parse_header(member: IO[bytes]) -> Header:
    """Read an array's header, no more than `MOST_HEADER_BYTES` of it."""
    start = member.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    version = np.lib.format.read_magic(io.BytesIO(start))
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version} is for structured arrays")
    length = member.read(2 if version == (1, 0) else 4)
    announced = int.from_bytes(length, "little")
    if announced > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {announced} bytes, expected at most {MOST_HEADER_BYTES}")
    rest = io.BytesIO(length + member.read(announced))
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = parse(rest)
    except Exception as error:  # Python's own parser reads the header, and raises a dozen types
        raise ValueError("its header cannot be read") from error
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"its header announces {len(shape)} dimensions")
    if any(side < 0 for side in shape) or math.prod(max(side, 1) for side in shape) * dtype.itemsize >= 1 << 63:
        raise ValueError(f"its header announces an impossible shape, {list(shape)}")
    return Header(shape, dtype, fortran_order and len(shape) > 1)


def _read_member(member: IO[bytes], file: Path, key: str, nbytes: int) -> Iterator[bytes]:
    """Yield the bytes of the array; the zip's checksum is verified after the last block."""
    left = nbytes
    while True:
        try:
            block = member.read(min(BLOCK, left) or 1)  # a read behind the end makes zipfile compare the checksum
        except DAMAGE_ERRORS as error:
            raise _damage_error(file, key, error) from error
        except OSError as error:
            raise _damage_error(file, key, error.strerror or error) from error
        if not block:
            break
        left -= len(block)
        yield block
    if left:
        raise _damage_error(file, key, f"{left} bytes are missing")
