"""Memory-map the large arrays of an .npz file.

numpy's ``mmap_mode`` has no effect on .npz files. A large array is therefore unpacked once into an .npy file in
``.simclr_med/`` beside the .npz file, or in the user's cache folder if that folder cannot be written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from simclr_med.data import arrays, npy
from simclr_med.data.hashing import read_stamp
from simclr_med.data.progress import print_message, show_progress
from simclr_med.errors import DataError, write_advice

MMAP_ABOVE = 1 << 30  # bytes: a larger split is memory-mapped


def read_or_map(file: Path, key: str, mmap_above: int = MMAP_ABOVE) -> np.ndarray:
    """Return one uint8 array of an .npz file, in memory or, if it is large, as a read-only memory map.

    Args:
        file, key: the .npz file and the array's name.
        mmap_above: size limit in bytes. The first call for a larger array unpacks it into an .npy file under a lock;
            later calls map that file until the stamp of the .npz file changes (`hashing.read_stamp`).

    Raises:
        DataError: as for `arrays.read`; or no folder has room for the .npy file.
    """
    header = arrays.read_header(file, key)
    if header.nbytes <= mmap_above or header.dtype != np.uint8:
        return arrays.read(file, key)
    if header.fortran_order:
        raise DataError(
            f"{file}[{key}]: stored in Fortran order, which cannot be memory-mapped. "
            "Save np.ascontiguousarray of the array."
        )
    folders = _list_target_folders(file)
    name = _name_unpacked_file(file, key)
    for folder in folders:
        array = npy.read(folder / name, header.shape, mapped=True)
        if array is not None:
            return array
    failures, advice = [], ""
    for folder in folders:
        try:
            return _unpack(file, key, header, folder / name)
        except OSError as error:
            failures.append(f"{folder} ({error.strerror or error})")
            advice = write_advice(error)
    raise DataError(
        f"{file}[{key}]: the unpacked array ({header.nbytes / 1e9:.1f} GB) cannot be saved in {', '.join(failures)}. "
        f"{advice}, or set XDG_CACHE_HOME to another folder."
    )


def _list_target_folders(file: Path) -> tuple[Path, Path]:
    from platformdirs import user_cache_path

    digest = hashlib.sha256(str(file.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return file.absolute().parent / ".simclr_med", user_cache_path("simclr-med") / "arrays" / digest


def _name_unpacked_file(file: Path, key: str) -> str:
    """Return a name that changes with the .npz file, so that a changed file is unpacked again."""
    return f"{file.name}.{key}.{read_stamp(file)}.npy"


def _unpack(file: Path, key: str, header: arrays.Header, target: Path) -> np.ndarray:
    from filelock import FileLock

    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{file.name}.{key}.lock"):
        unpacked = npy.read(target, header.shape, mapped=True)  # another process may have finished meanwhile
        if unpacked is not None:
            return unpacked
        if target.exists():
            print_message(f"{target}: damaged file; unpacking the array again.")
        _remove_outdated(folder, f"{file.name}.{key}.")
        if shutil.disk_usage(folder).free < header.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with show_progress(f"Unpacking {file.name} {key} once into {folder}") as update:
            npy.write(target, header.shape, _report(arrays.read_blocks(file, key), header.nbytes, update))
    array = npy.read(target, header.shape, mapped=True)
    assert array is not None, f"{target} vanished"
    return array


def _remove_outdated(folder: Path, prefix: str) -> None:
    """Remove the unpacked arrays of earlier versions of the .npz file."""
    outdated = [path for path in folder.iterdir() if path.name.startswith(prefix) and path.suffix == ".npy"]
    for path in outdated:
        path.unlink(missing_ok=True)


def _report(blocks: Iterator[bytes], total: int, update: Callable[[int, int | None], None]) -> Iterator[bytes]:
    """Yield the blocks and report the number of bytes so far."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        update(done, total)
