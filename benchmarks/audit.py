"""Recall and precision of the audit on planted twins and flipped labels, and its time on many images.

    python benchmarks/audit.py DATA.npz [--encoder ENCODER.safetensors] [--plantings 5] [--images 100000] [--out FILE]

Twins of training images take the place of test images (10 each: shifted by a pixel, mirrored, brightened, JPEG of
quality 75, turned by 90 degrees), and the labels of some training images are exchanged for another class.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from images import write_data
from machine import describe_machine
from PIL import Image

TWINS, FLIPPED = 50, 20
LOOKED_AT = (20, 50, 100)  # labels to check that a reader may look at


def shift(image: np.ndarray) -> np.ndarray:
    """Move an image by a pixel down and to the right; the border repeats."""
    width = [(1, 0), (1, 0)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, width, mode="edge")[:-1, :-1]


def mirror(image: np.ndarray) -> np.ndarray:
    return image[:, ::-1]


def turn(image: np.ndarray) -> np.ndarray:
    return np.rot90(image)


def brighten(image: np.ndarray) -> np.ndarray:
    return np.clip(image.astype(float) * 1.15 + 10, 0, 255).round().astype(np.uint8)


def compress(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


CHANGES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (shift, mirror, brighten, compress, turn)


def plant(source: Path, target: Path, seed: int) -> tuple[dict[int, tuple[str, int]], list[int]]:
    """Write a copy of a data set with planted twins and flipped labels.

    Returns:
        the change and the training row of the twin in each changed test row, and the training rows with another label.
    """
    generator = np.random.default_rng(seed)
    with np.load(source, allow_pickle=False) as file:
        content = {key: file[key].copy() for key in file.files}
    train, test, labels = content["train_images"], content["test_images"], content["train_labels"]
    chosen = generator.permutation(len(train))[: TWINS + FLIPPED].tolist()
    places = generator.permutation(len(test))[:TWINS].tolist()
    twins = {}
    for number, (row, place) in enumerate(zip(chosen[:TWINS], places, strict=True)):
        change = CHANGES[number % len(CHANGES)]
        test[place] = change(train[row])
        content["test_labels"][place] = labels[row]
        twins[place] = (change.__name__, row)
    classes, flipped = int(labels.max()) + 1, chosen[TWINS:]
    for row in flipped:
        labels[row] = (labels[row] + generator.integers(1, classes)) % classes
    np.savez(target, **content)
    return twins, flipped


def audit(data: Path, folder: Path, *overrides: str) -> tuple[list[dict[str, str]], float]:
    """Run the command, and return the findings and the seconds."""
    words = ["stage=audit", "dataset=npz", f"dataset.path={data}", f"paths.runs={folder}", "trainer=cpu", *overrides]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "simclr_med", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    (table,) = folder.glob("audit/*/*/findings.csv")
    with open(table, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), seconds


def score(
    found: list[dict[str, str]], before: list[dict[str, str]], twins: dict[int, tuple[str, int]], flipped: list[int]
) -> dict[str, object]:
    """Recall and precision of each detector; pairs and labels that it found without planting are no errors of it.

    Args:
        found, before: findings with and without what was planted.
    """

    def pairs(findings: list[dict[str, str]]) -> set[tuple[str, str, str, str]]:
        kinds = ("exact_duplicate", "near_duplicate")
        return {
            (one["split"], one["index"], one["other_split"], one["other_index"])
            for one in findings
            if one["kind"] in kinds
        }

    planted = {("test", str(place), "train", str(row)): name for place, (name, row) in twins.items()}
    new = pairs(found) - pairs(before)
    hits = [name for pair, name in planted.items() if pair in new]
    recall = {
        name: f"{hits.count(name)} of {list(planted.values()).count(name)}" for name in sorted(set(planted.values()))
    }
    labels = [(one["split"], int(one["index"])) for one in found if one["kind"] == "label_error"]
    right = [place for place in labels if place in {("train", row) for row in flipped}]
    top = {count: sum(place in right for place in labels[:count]) for count in LOOKED_AT}
    return {
        "twins": {
            "recall": f"{len(hits)} of {len(planted)}",
            "by change": recall,
            "precision": f"{len(hits)} of {len(new)}",
            "found without planting": len(pairs(before)),
        },
        "labels": {
            "recall": f"{len(right)} of {len(flipped)}",
            "precision": f"{len(right)} of {len(labels)}",
            **{f"among the first {count}": hits for count, hits in top.items()},
            "found without planting": sum(one["kind"] == "label_error" for one in before),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="an .npz in MedMNIST's layout with labels")
    parser.add_argument("--encoder", type=Path, help="encoder of the features; without it, pixels")
    parser.add_argument("--images", type=int, default=0, help="also time the audit of this many drawn images")
    parser.add_argument("--plantings", type=int, default=1, help="with the seeds 0, 1, ...")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, object] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.data is not None:
            init = [] if arguments.encoder is None else ["init=checkpoint", f"init.path={arguments.encoder.absolute()}"]
            before, _ = audit(arguments.data.absolute(), folder / "before", *init)
            plantings = []
            for seed in range(arguments.plantings):
                twins, flipped = plant(arguments.data, folder / "planted.npz", seed)
                found, seconds = audit(folder / "planted.npz", folder / f"after{seed}", *init)
                plantings.append({"seconds": round(seconds, 1)} | score(found, before, twins, flipped))
            results |= {"data": arguments.data.name, "plantings": plantings}
        if arguments.images:
            count = round(arguments.images * 7 / 9)  # write_data adds a validation and a test image for seven
            write_data(folder / "many.npz", None, count, 28)
            _, seconds = audit(folder / "many.npz", folder / "many")
            results["timed"] = {"images": arguments.images, "side": 28, "seconds": round(seconds, 1)}
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
