"""Contact sheets of all figures with class names, for the twelve 2D MedMNIST sets and for 2 to 14 classes.

python benchmarks/contact_sheet.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from simclr_med.config.medmnist_info import load_medmnist_table
from simclr_med.plots.class_counts import build_class_counts, plot_class_counts
from simclr_med.plots.embeddings import Panel, plot_pca, plot_projections
from simclr_med.plots.image_grids import Tile, plot_gallery

POINTS, TILES = 40, 9  # points per class, and tiles in a row of the gallery
WIDTH = 900  # pixels of a column of the contact sheet


def load_class_names() -> dict[str, tuple[str, ...]]:
    """Return the class names of each set; a multi-label set has two more groups. Adds sets of 2 to 14 classes."""
    sets: dict[str, tuple[str, ...]] = {}
    for flag, info in load_medmnist_table().items():
        if not flag.endswith("3d"):
            more = ("none of them", "several of them") if info["task"].startswith("multi-label") else ()
            sets[flag] = (*info["label"].values(), *more)
    longest = sorted({name for names in sets.values() for name in names}, key=lambda name: (-len(name), name))
    return sets | {f"{count} classes": tuple(longest[:count]) for count in range(2, 15)}


def draw_panels(names: Sequence[str]) -> list[Panel]:
    """Return two maps of random clusters."""
    panels = []
    for title in ("train: drawn", "test: drawn"):
        generator = np.random.default_rng(len(names))
        groups = np.repeat(np.arange(len(names)), POINTS)
        angle = 2 * np.pi * groups / len(names)
        centres = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        panels.append(Panel(title, centres + generator.normal(0, 0.5, centres.shape), groups))
    return panels


def draw_figures(names: Sequence[str], folder: Path) -> list[Path]:
    """Write every figure that shows class names, with these names; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"{kind}.png" for kind in ("pca", "tsne", "counts", "gallery")]
    panels = draw_panels(names)
    shares = 0.5 ** np.arange(1, 12)
    plot_pca(shares, panels, names, targets[0])
    plot_projections({"perplexity 30": panels}, names, targets[1])
    counts = {split: [(7 * k + 3) ** 2 * size for k in range(len(names))] for split, size in (("train", 7), ("val", 1))}
    plot_class_counts(
        build_class_counts(names, counts, {split: sum(each) for split, each in counts.items()}), targets[2]
    )
    image = np.full((28, 28, 1), 128, np.uint8)
    row = [Tile(image, f"0.97 {names[k % len(names)]}", k % 2 == 0) for k in range(TILES)]
    plot_gallery([row, row], targets[3], "drawn", [f"{k + 1}" for k in range(TILES)])
    return targets


def write_montage(files: Sequence[Path], target: Path, columns: int) -> None:
    """Write all pictures on one sheet, scaled to the width of a column."""
    images = [Image.open(file).convert("RGB") for file in files]
    small = [image.resize((WIDTH, round(image.height * WIDTH / image.width))) for image in images]
    lines = [small[start : start + columns] for start in range(0, len(small), columns)]
    heights = [max(image.height for image in line) + 20 for line in lines]
    sheet = Image.new("RGB", (WIDTH * columns, sum(heights)), "white")
    for number, line in enumerate(lines):
        for column, image in enumerate(line):
            sheet.paste(image, (column * WIDTH, sum(heights[:number])))
    sheet.save(target)


if __name__ == "__main__":
    top = Path(sys.argv[1])
    drawn = {name: draw_figures(names, top / name.replace(" ", "_")) for name, names in load_class_names().items()}
    for place, kind in enumerate(("pca", "tsne", "counts", "gallery")):
        write_montage([files[place] for files in drawn.values()], top / f"{kind}.png", 3)
        print(top / f"{kind}.png")
