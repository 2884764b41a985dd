"""The images that are trained on: a part of a file of yours, or random blobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

VAL_SHARE = 7  # one validation image to so many training images, as in MedMNIST's 7 : 1 : 2
BLOCK = 4096  # images drawn at a time, so that the largest set costs no more memory than itself


def write_data(
    path: Path, source: Path | None, images: int, side: int, seed: int = 0, held_out: int | None = None
) -> None:
    """So many training images in MedMNIST's layout: spread over the source, else random blobs of eight classes.

    Args:
        path: the .npz to write.
        source: an .npz in MedMNIST's layout, or None.
        images: of the training split.
        side: in pixels, of drawn images.
        seed: of drawn images.
        held_out: images of the validation and of the test split; None for one to seven.
    """
    rest = max(1, images // VAL_SHARE) if held_out is None else held_out
    counts = {"train": images, "val": rest, "test": rest}
    content: dict[str, Any] = {}
    if source is None:
        generator = np.random.default_rng(seed)
        for split, count in counts.items():
            content[f"{split}_images"] = _blobs(count, side, generator)
            content[f"{split}_labels"] = (np.arange(count) % 8).astype(np.uint8)[:, None]
    else:
        with np.load(source, allow_pickle=False) as file:
            for split, count in counts.items():
                held = len(file[f"{split}_images"])
                chosen = np.linspace(0, held - 1, min(count, held)).astype(int)
                for name in (f"{split}_images", f"{split}_labels"):
                    if name in file:
                        content[name] = file[name][chosen]
    np.savez(path, **content)


def _blobs(count: int, side: int, generator: np.random.Generator) -> np.ndarray:
    """uint8 [count, side, side, 3]: 7 x 7 coloured squares with noise."""
    drawn = np.empty((count, side, side, 3), np.uint8)
    times = -(-side // 7)
    for start in range(0, count, BLOCK):
        part = drawn[start : start + BLOCK]
        coarse = generator.integers(30, 226, (len(part), 7, 7, 3), dtype=np.int16)
        blocks = coarse.repeat(times, axis=1).repeat(times, axis=2)[:, :side, :side]
        part[:] = blocks + generator.integers(-20, 21, blocks.shape, dtype=np.int16)
    return drawn
