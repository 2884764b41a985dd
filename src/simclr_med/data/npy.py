"""Image arrays as .npy files of our own: written whole or not at all, checked when read, mapped when large."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from simclr_med.atomic import write_atomically

CRC_BYTES = 4  # behind the array, where numpy's readers do not look


def write(path: Path, shape: tuple[int, ...], blocks: Iterable[bytes | memoryview]) -> None:
    """Write a uint8 array, in C order, that arrives in pieces.

    Args:
        path: the .npy to make; its folder exists.
        shape: of the whole array.
        blocks: its bytes in order.

    Raises:
        OSError: of the disk; nothing is left behind.
        ValueError: the blocks do not add up to the shape.
    """

    def fill(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        crc = written = 0
        for block in blocks:
            file.write(block)
            crc = zlib.crc32(block, crc)
            written += len(block)
        if written != math.prod(shape):
            raise ValueError(f"{written} bytes written for an array of shape {shape}")
        file.write(crc.to_bytes(CRC_BYTES, "little"))

    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a killed process: the caller holds the lock
        left.unlink(missing_ok=True)
    write_atomically(path, fill)


def read(path: Path, shape: tuple[int, ...], mapped: bool) -> np.ndarray | None:
    """What `write` wrote, or None when there is no such file or it is damaged.

    Args:
        path: the .npy.
        shape: that it must have.
        mapped: give a read-only memory map (only header and length are checked), else an array (its CRC is checked).
    """
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
            length = offset + math.prod(shape) + CRC_BYTES
            if (found, fortran) != (shape, False) or dtype != np.dtype(np.uint8):
                return None
            if os.fstat(file.fileno()).st_size != length:
                return None
            if mapped:
                return np.memmap(path, np.uint8, "r", offset, shape)
            array = np.empty(shape, np.uint8)
            file.readinto(array.data.cast("B"))
            intact = zlib.crc32(array.data.cast("B")) == int.from_bytes(file.read(CRC_BYTES), "little")
            return array if intact else None
    except (OSError, ValueError):
        return None
