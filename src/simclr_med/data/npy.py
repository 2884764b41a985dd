"""Write and read image arrays as .npy files with a checksum, atomically; read them into memory or as memory maps."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from simclr_med.atomic import remove_unfinished, write_atomically
from simclr_med.data.hashing import BLOCK, cached_digest, read_stamp
from simclr_med.data.progress import show_progress

CRC_BYTES = 4  # length of the checksum behind the array; numpy's readers ignore it


def write(path: Path, shape: tuple[int, ...], blocks: Iterable[bytes | memoryview]) -> None:
    """Write a uint8 array in C order from blocks of bytes, and save its checksum, so that `read` does not compute it.

    Args:
        path: the .npy file; its folder exists. The caller holds the lock of this file.
        shape: shape of the whole array.
        blocks: the bytes of the array in order.

    Raises:
        OSError: the disk is full or read-only; nothing is left behind.
        ValueError: the blocks have more or fewer bytes than the shape.
    """

    crc = 0

    def fill(file: BinaryIO) -> None:
        nonlocal crc
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        written = 0
        for block in blocks:
            file.write(block)
            crc = zlib.crc32(block, crc)
            written += len(block)
        if written != math.prod(shape):
            raise ValueError(f"{written} bytes written for an array of shape {shape}")
        file.write(_to_bytes(crc))

    remove_unfinished(path)
    write_atomically(path, fill)
    cached_digest(_digest_key(path), read_stamp(path), lambda: _to_bytes(crc).hex())


def read(path: Path, shape: tuple[int, ...], mapped: bool) -> np.ndarray | None:
    """Read an array that `write` wrote; None if the file is missing, damaged or of another shape.

    Args:
        path: the .npy file.
        shape: the expected shape.
        mapped: return a read-only memory map instead of an array in memory. Its checksum is computed once for each
            stamp of the file (`hashing.read_stamp`), since that reads the whole file.
    """
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            found, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
            length = offset + math.prod(shape) + CRC_BYTES
            if (found, fortran_order) != (shape, False) or dtype != np.dtype(np.uint8):
                return None
            if os.fstat(file.fileno()).st_size != length:
                return None
            if mapped:
                crc = cached_digest(_digest_key(path), read_stamp(path), lambda: _compute_crc(file, path.name))
                file.seek(-CRC_BYTES, os.SEEK_END)
                return np.memmap(path, np.uint8, "r", offset, shape) if crc == file.read().hex() else None
            array = np.empty(shape, np.uint8)
            file.readinto(array.data.cast("B"))
            is_intact = zlib.crc32(array.data.cast("B")) == int.from_bytes(file.read(CRC_BYTES), "little")
            return array if is_intact else None
    # numpy parses the header as Python's source; on damaged text it raises more than ValueError.
    except (OSError, ValueError, SyntaxError, TokenError):
        return None


def _compute_crc(file: BinaryIO, name: str) -> str:
    """Return the checksum of the bytes from the file's position up to the stored checksum, as hex digits."""
    total = os.fstat(file.fileno()).st_size - file.tell() - CRC_BYTES
    crc = done = 0
    with show_progress(f"Checking {name}") as update:
        while block := file.read(min(total - done, BLOCK)):
            crc = zlib.crc32(block, crc)
            done += len(block)
            update(done, total)
    return _to_bytes(crc).hex()


def _digest_key(path: Path) -> str:
    return f"crc32:{path.absolute()}"


def _to_bytes(crc: int) -> bytes:
    return crc.to_bytes(CRC_BYTES, "little")
