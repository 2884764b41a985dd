"""Training images of the benchmarks: a part of a file, or random coloured squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TRAIN_PER_VAL = 7  # training images per validation image, as in MedMNIST's 7 : 1 : 2
BLOCK = 4096  # images drawn at a time; limits the memory


def write_data(
    path: Path, source: Path | None, images: int, side: int, seed: int = 0, held_out: int | None = None
) -> None:
    """Write a file in MedMNIST's layout: images spread over the source, or random ones of eight classes.

    Args:
        path: the .npz to write.
        source: an .npz in MedMNIST's layout, or None.
        images: number of training images.
        side: of random images, in pixels.
        seed: of random images.
        held_out: images of the validation and of the test split; None: one per seven training images.
    """
    rest = max(1, images // TRAIN_PER_VAL) if held_out is None else held_out
    counts = {"train": images, "val": rest, "test": rest}
    content: dict[str, Any] = {}
    if source is None:
        generator = np.random.default_rng(seed)
        for split, count in counts.items():
            content[f"{split}_images"] = draw_squares(count, side, generator)
            content[f"{split}_labels"] = (np.arange(count) % 8).astype(np.uint8)[:, None]
    else:
        with np.load(source, allow_pickle=False) as file:
            for split, count in counts.items():
                available = len(file[f"{split}_images"])
                chosen = np.linspace(0, available - 1, min(count, available)).astype(int)
                for name in (f"{split}_images", f"{split}_labels"):
                    if name in file:
                        content[name] = file[name][chosen]
    np.savez(path, **content)


def draw_squares(count: int, side: int, generator: np.random.Generator, channels: int = 3) -> np.ndarray:
    """Return uint8 [count, side, side, channels]: 7 x 7 coloured squares with noise."""
    drawn = np.empty((count, side, side, channels), np.uint8)
    times = -(-side // 7)
    for start in range(0, count, BLOCK):
        part = drawn[start : start + BLOCK]
        coarse = generator.integers(30, 226, (len(part), 7, 7, channels), dtype=np.int16)
        blocks = coarse.repeat(times, axis=1).repeat(times, axis=2)[:, :side, :side]
        part[:] = blocks + generator.integers(-20, 21, blocks.shape, dtype=np.int16)
    return drawn
