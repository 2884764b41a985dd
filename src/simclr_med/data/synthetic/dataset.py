"""The synthetic data set: drawn blood cells that depend on (seed, split, image number) alone. No download, no file."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from simclr_med.data.source import ImageSet, Remarks
from simclr_med.data.synthetic.classes import CELL_CLASSES
from simclr_med.data.synthetic.drawing import UNIFORMS, draw_cells
from simclr_med.types import SPLITS, Split, Task

DRAWING_VERSION = 2  # increase with every change that gives other pixels for the same arguments
BLOCK_PIXELS = 1 << 18  # pixels drawn at a time; larger blocks do not fit into the processor's cache
GOLDEN_RATIO = (5**0.5 - 1) / 2

# Independent random streams beside (seed, split).
LABEL_STREAM = 0
TRAIT_STREAM = 1
NOISE_STREAM = 2


class Synthetic:
    """Eight classes in BloodMNIST's proportions, photographed in six laboratories; a `Source`.

    The classes differ in shape, the laboratories in stain, light, focus and scale: hard for pixels and for an untrained
    encoder, easy for one that ignores what augmentation changes. Image i of a split does not depend on the number of
    its images.

    Args:
        name: the data set's name in folders and results.
        size: side of the images in pixels.
        seed: seed of the drawing.
        train, val, test: number of images in each split.
    """

    channels = 3
    task: Task = "multi-class"
    classes = tuple(cell_class.name for cell_class in CELL_CLASSES)

    def __init__(self, name: str, size: int, seed: int, train: int, val: int, test: int) -> None:
        self.name = name
        self.size = size
        self.seed = seed
        self._counts: dict[Split, int] = {"train": train, "val": val, "test": test}

    def content_hash(self) -> str:
        """Return the SHA-256 of what determines the pixels: the arguments and the version of the drawing."""
        recipe = ["synthetic", DRAWING_VERSION, self.size, self.seed, self._counts]
        return f"sha256:{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()}"

    def available_splits(self) -> tuple[Split, ...]:
        """Return all three splits."""
        return SPLITS

    def labelled_splits(self) -> tuple[Split, ...]:
        """Return all three splits."""
        return SPLITS

    def split(self, split: Split) -> ImageSet:
        """Draw one split."""
        labels = self.labels(split)
        traits = self._seed_generator(split, TRAIT_STREAM)
        noise = self._seed_generator(split, NOISE_STREAM)
        images = np.empty((len(labels), self.size, self.size, 3), np.uint8)
        block = max(1, BLOCK_PIXELS // self.size**2)
        for start in range(0, len(labels), block):
            rows = labels[start : start + block, 0]
            images[start : start + block] = draw_cells(
                rows,
                traits.random((len(rows), UNIFORMS)),
                noise.standard_normal((len(rows), self.size, self.size, 3), np.float32),
            )
        return ImageSet(images, labels)

    def labels(self, split: Split) -> np.ndarray:
        """Return the labels of one split, int64 [N, 1].

        Steps of the golden ratio through the classes' shares keep every prefix in proportion.
        """
        shares = np.array([cell_class.share for cell_class in CELL_CLASSES], float)
        start = self._seed_generator(split, LABEL_STREAM).random()
        points = (start + GOLDEN_RATIO * np.arange(self._counts[split])) % 1
        return np.searchsorted(np.cumsum(shares / shares.sum())[:-1], points, side="right")[:, None].astype(np.int64)

    def names(self, split: Split) -> None:
        """Return None: the images have no file names."""
        return None

    def patients(self, split: Split) -> None:
        """Return None: nothing says whose images they are."""
        return None

    def interpolation(self, split: Split) -> None:
        """Return None: the images are the stored ones."""

    def remarks(self) -> Remarks:
        """Return nothing: the images are stored as they are used."""
        return Remarks()

    def _seed_generator(self, split: Split, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(split), stream])
