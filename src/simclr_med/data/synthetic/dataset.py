"""The embedded data set: drawn blood smears, a function of (seed, split, number) alone. No download, no file."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from simclr_med.data.source import ImageSet
from simclr_med.data.synthetic.classes import KINDS
from simclr_med.data.synthetic.drawing import UNIFORMS, draw_cells
from simclr_med.types import SPLITS, Split, Task

DRAWING_VERSION = 1  # raised whenever the same arguments would give other pixels
BLOCK_PIXELS = 1 << 18  # pixels drawn at a time, for the cache's sake
GOLDEN = (5**0.5 - 1) / 2


class Synthetic:
    """Eight classes in BloodMNIST's proportions; a `Source`. Image i of a split does not depend on how many there are.

    Args:
        name: the data set's name in folders and results.
        size: side of the images in pixels.
        seed: of the drawing.
        train, val, test: images of each split.
    """

    channels = 3
    task: Task = "multi-class"
    classes = tuple(kind.name for kind in KINDS)

    def __init__(self, name: str, size: int, seed: int, train: int, val: int, test: int) -> None:
        self.name, self.size, self.seed = name, size, seed
        self._counts: dict[Split, int] = {"train": train, "val": val, "test": test}

    def content_hash(self) -> str:
        """SHA-256 of all that decides the pixels: the arguments and the drawing's version."""
        recipe = ["synthetic", DRAWING_VERSION, self.size, self.seed, self._counts]
        return f"sha256:{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()}"

    def present(self) -> tuple[Split, ...]:
        """All three."""
        return SPLITS

    def labelled(self) -> tuple[Split, ...]:
        """All three."""
        return SPLITS

    def split(self, split: Split) -> ImageSet:
        """Draw one split."""
        labels = self.labels(split)
        uniforms, noise = (self._stream(split, number) for number in (1, 2))
        images = np.empty((len(labels), self.size, self.size, 3), np.uint8)
        block = max(1, BLOCK_PIXELS // self.size**2)
        for start in range(0, len(labels), block):
            rows = labels[start : start + block, 0]
            images[start : start + block] = draw_cells(
                rows,
                uniforms.random((len(rows), UNIFORMS)),
                noise.standard_normal((len(rows), self.size, self.size, 3), np.float32),
            )
        return ImageSet(images, labels)

    def labels(self, split: Split) -> np.ndarray:
        """int64 [N, 1]. Steps of the golden ratio through the classes' shares keep every beginning in proportion."""
        shares = np.array([kind.share for kind in KINDS], float)
        points = (self._stream(split, 0).random() + GOLDEN * np.arange(self._counts[split])) % 1
        return np.searchsorted(np.cumsum(shares / shares.sum())[:-1], points, side="right")[:, None].astype(np.int64)

    def names(self, split: Split) -> None:
        """None: the images are rows of an array."""
        return None

    def _stream(self, split: Split, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(split), number])
