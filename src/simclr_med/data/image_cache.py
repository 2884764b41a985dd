"""Decode a folder's images once and keep the array in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simclr_med.data import npy
from simclr_med.data.decoding import RULES_VERSION, decode_images
from simclr_med.data.intensity import Scale
from simclr_med.data.memory_maps import MMAP_ABOVE
from simclr_med.data.progress import print_message, show_progress
from simclr_med.errors import DataError, write_advice


class DecodingRecipe(NamedTuple):
    """Everything that determines the decoded images of a folder.

    Attributes:
        root: the folder.
        folder_digest: hash of the folder's files.
        size: side of the decoded images in pixels.
        channels: 1 or 3.
        scale: rule for values of more than 8 bits.
    """

    root: Path
    folder_digest: str
    size: int
    channels: int
    scale: Scale

    def hash_key(self, names: tuple[str, ...]) -> str:
        """Return the cache key of these images."""
        scale = self.scale.rule if self.scale.bounds is None else list(self.scale)
        content = [self.folder_digest, names, self.size, self.channels, scale, RULES_VERSION]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def load_images(recipe: DecodingRecipe, names: tuple[str, ...], title: str) -> np.ndarray:
    """Return the images of a folder, uint8 [N, size, size, channels], by `load_or_decode`.

    Args:
        recipe: the folder and how its images are decoded.
        names: the N file names relative to the folder.
        title: the task in the progress display.

    Raises:
        DataError: a file cannot be decoded, or the cache has no room for a large array.
    """
    shape = (len(names), recipe.size, recipe.size, recipe.channels)
    decode = partial(decode_images, recipe.root, names, recipe.size, recipe.channels, recipe.scale)
    return load_or_decode(recipe.hash_key(names), shape, decode, title)


def load_or_decode(
    key: str, shape: tuple[int, int, int, int], decode: Callable[[], Iterator[np.ndarray]], title: str
) -> np.ndarray:
    """Return images from the cache, or decode and keep them.

    Large arrays are read-only memory maps. Without a writable cache, small arrays are decoded in memory each time.

    Args:
        key: of the cache; names everything that determines the images.
        shape: (N, H, W, C) of them.
        decode: yields them in order, in blocks uint8 [B, H, W, C].
        title: the task in the progress display.

    Raises:
        DataError: what decode raises, or the cache has no room for a large array.
    """
    from filelock import FileLock
    from platformdirs import user_cache_path

    is_large = int(np.prod(shape)) > MMAP_ABOVE
    target = user_cache_path("simclr-med") / "folders" / f"{key}.npy"
    cached = npy.read(target, shape, is_large)
    if cached is not None:
        return cached
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            cached = npy.read(target, shape, is_large)  # another process may have finished meanwhile
            if cached is None:
                if target.exists():
                    print_message(f"{target}: damaged file; decoding the images again.")
                npy.write(target, shape, (block.data.cast("B") for block in _show(decode, shape[0], title)))
                cached = npy.read(target, shape, is_large)
    except OSError as error:
        if is_large:
            raise DataError(
                f"{target.parent}: {np.prod(shape) / 1e9:.1f} GB of decoded images cannot be saved "
                f"({error.strerror}). {write_advice(error)}, or set XDG_CACHE_HOME to another folder."
            ) from error
    return np.concatenate(list(_show(decode, shape[0], title))) if cached is None else cached


def _show(decode: Callable[[], Iterator[np.ndarray]], count: int, title: str) -> Iterator[np.ndarray]:
    """Yield blocks of decoded images and show the progress."""
    done = 0
    with show_progress(title, "images") as update:
        for block in decode():
            done += len(block)
            update(done, count)
            yield block
