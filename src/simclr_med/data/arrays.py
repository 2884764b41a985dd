"""Arrays out of an .npz: no pickle is ever opened, and a large one becomes a memory map instead of memory.

numpy's ``mmap_mode`` does nothing for .npz. An array above a bound is therefore streamed out of the zip into an .npy,
once, in ``.simclr_med/`` beside the file, or in the user's cache folder where that cannot be written.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from simclr_med.data import npy
from simclr_med.data.progress import progress
from simclr_med.data.sniff import sniff_image
from simclr_med.errors import DataError

MMAP_ABOVE = 1 << 30  # bytes: a larger split is memory-mapped
BLOCK = 1 << 20


class Header(NamedTuple):
    """What an array is, told without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def list_keys(file: Path) -> tuple[str, ...]:
    """The names of the arrays of an .npz.

    Raises:
        DataError: no such file, or no intact zip.
    """
    with _zip(file) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read_header(file: Path, key: str) -> Header:
    """Shape and type of one array, from the first bytes of its member.

    Raises:
        DataError: as `read`.
    """
    with _zip(file) as archive, _member(archive, file, key) as (_, head):
        return head


def read(file: Path, key: str) -> np.ndarray:
    """One array of an .npz, in memory and C order.

    Raises:
        DataError: no such file or key; a damaged zip; an array of objects (a pickle), which is refused unopened.
    """
    with _zip(file) as archive, _member(archive, file, key) as (member, head):
        order = head.shape[::-1] if head.fortran_order else head.shape
        array = np.empty(order, head.dtype)
        target = array.reshape(-1).view(np.uint8).data
        for block in _blocks(member, file, key, head.nbytes):
            target[: len(block)] = block
            target = target[len(block) :]
        return np.ascontiguousarray(array.T) if head.fortran_order else array


def read_or_map(file: Path, key: str, mmap_above: int = MMAP_ABOVE) -> np.ndarray:
    """One uint8 array of an .npz: in memory, or read-only memory-mapped when it has more than mmap_above bytes.

    Args:
        file, key: the .npz and the array's name.
        mmap_above: bound in bytes. Above it the first call streams the array into an .npy under a lock, and every
            further call maps that one until the .npz changes (by length or time of change).

    Raises:
        DataError: as `read`; or no folder has room for the .npy.
    """
    head = read_header(file, key)
    if head.nbytes <= mmap_above or head.dtype != np.uint8:
        return read(file, key)
    if head.fortran_order:
        raise DataError(f"{file}[{key}]: must be in C order to be memory-mapped. Save np.ascontiguousarray of it.")
    folders = _folders(file)
    name = _conversion_name(file, key)
    for folder in folders:
        array = npy.read(folder / name, head.shape, mapped=True)
        if array is not None:
            return array
    failures = []
    for folder in folders:
        try:
            return _convert(file, key, head, folder, name)
        except OSError as error:
            failures.append(f"{folder} ({error.strerror or error})")
    raise DataError(
        f"{file}[{key}]: must be unpacked once, {head.nbytes / 1e9:.1f} GB, and no folder takes it: "
        f"{', '.join(failures)}. Make room, or set XDG_CACHE_HOME to a folder with room."
    )


def _folders(file: Path) -> tuple[Path, Path]:
    from platformdirs import user_cache_path

    digest = hashlib.sha256(str(file.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return file.absolute().parent / ".simclr_med", user_cache_path("simclr-med") / "arrays" / digest


def _conversion_name(file: Path, key: str) -> str:
    """A name that changes with the file, so that a changed file is converted anew."""
    stat = file.stat()
    return f"{file.name}.{key}.{stat.st_size:x}-{stat.st_mtime_ns:x}.npy"


def _convert(file: Path, key: str, head: Header, folder: Path, name: str) -> np.ndarray:
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    with FileLock(folder / f"{file.name}.{key}.lock"):
        done = npy.read(target, head.shape, mapped=True)  # by another process meanwhile
        if done is not None:
            return done
        beginning = f"{file.name}.{key}."
        for old in [path for path in folder.iterdir() if path.name.startswith(beginning) and path.suffix == ".npy"]:
            old.unlink(missing_ok=True)
        if shutil.disk_usage(folder).free < head.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        title = f"Unpacking {file.name} {key}, once, into {folder}"
        with _zip(file) as archive, _member(archive, file, key) as (member, _), progress(title) as show:
            npy.write(target, head.shape, _shown(_blocks(member, file, key, head.nbytes), head.nbytes, show))
    array = npy.read(target, head.shape, mapped=True)
    assert array is not None, f"{target} vanished"
    return array


def _shown(blocks: Iterator[bytes], total: int, show: Callable[[int, int | None], None]) -> Iterator[bytes]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        show(done, total)


# What zipfile and numpy raise for a damaged, foreign or encrypted archive.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, SyntaxError)


def _damaged(file: Path, key: str | None, error: Exception | str) -> DataError:
    where = f"{file}[{key}]" if key else str(file)
    told = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{where}: must be an intact .npz ({told}). Get it again, or save it anew with numpy.savez.")


def _pickled(file: Path, key: str | None = None) -> DataError:
    where = f"{file}[{key}]" if key else str(file)
    return DataError(
        f"{where}: must hold plain numbers; it contains a pickle, which can run code, and was not opened. "
        "Save arrays of numbers with numpy.savez."
    )


@contextmanager
def _zip(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except FileNotFoundError as error:
        raise DataError(f"{file}: must exist. Check the path.") from error
    except zipfile.BadZipFile as error:
        seen = sniff_image(file)
        raise (_pickled(file) if seen == "a pickle" else _damaged(file, None, f"it is {seen}")) from error
    except IsADirectoryError as error:
        raise DataError(f"{file}: must be a file, not a folder. Check the path, or use dataset=folder.") from error
    except OSError as error:
        raise DataError(f"{file}: must be a readable file ({error.strerror}). Check path and rights.") from error
    with archive:
        yield archive


@contextmanager
def _member(archive: zipfile.ZipFile, file: Path, key: str) -> Iterator[tuple[IO[bytes], Header]]:
    """The member open behind its header, and the header."""
    names = set(archive.namelist())
    name = f"{key}.npy" if f"{key}.npy" in names else key
    if name not in names:
        held = ", ".join(sorted(n.removesuffix(".npy") for n in names)) or "nothing"
        raise DataError(f"{file}[{key}]: must be there; the file holds {held}. Save the array under this name.")
    with ExitStack() as stack:
        try:
            member = stack.enter_context(archive.open(name))
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"npy version {version} is of structured arrays")
            parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = parse(member)
        except _DAMAGE as error:
            raise _damaged(file, key, error) from error
        except OSError as error:
            raise _damaged(file, key, error.strerror or error) from error
        head = Header(shape, dtype, fortran_order and len(shape) > 1)
        if dtype.hasobject:
            raise _pickled(file, key)
        if archive.getinfo(name).file_size - member.tell() != head.nbytes:
            raise _damaged(file, key, f"{head.nbytes} bytes announced, {archive.getinfo(name).file_size} there")
        yield member, head


def _blocks(member: IO[bytes], file: Path, key: str, nbytes: int) -> Iterator[bytes]:
    """The bytes of the array; the zip's checksum is verified with the last of them."""
    left = nbytes
    while True:
        try:
            block = member.read(min(BLOCK, left) or 1)  # one read behind the end makes zipfile compare the checksum
        except _DAMAGE as error:
            raise _damaged(file, key, error) from error
        except OSError as error:
            raise _damaged(file, key, error.strerror or error) from error
        if not block:
            break
        left -= len(block)
        yield block
    if left:
        raise _damaged(file, key, f"{left} bytes are missing")
