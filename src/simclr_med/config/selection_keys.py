"""The images of a selection.csv as a label budget: what the config records of the file, and the rules about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from simclr_med.config.data_nodes import DataFraction
from simclr_med.config.select_nodes import Select
from simclr_med.config.stage_kinds import Stage
from simclr_med.errors import ConfigError
from simclr_med.runs.fields import describe_error
from simclr_med.selection_csv import SelectedImage, read_selection


def selected_by(file: str | None) -> str | None:
    """Return the method that a selection.csv was made with; None without a file.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    return None if file is None else _read(file)[0].method


def selection_hash(file: str | None, samples: int | None) -> str | None:
    """Return the digest of the images of a budget, in their order; None without a file.

    A longer file that begins with the same images has the same digest.

    Args:
        file: a selection.csv.
        samples: number of images; None takes all that are listed.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    if file is None:
        return None
    digests = "".join(image.digest for image in _read(file)[:samples])
    return f"sha256:{hashlib.sha256(digests.encode()).hexdigest()[:32]}"


def labels_hash(file: str | None, samples: int | None) -> str | None:
    """Return the digest of the labels that a user wrote into a selection.csv; None without a file, or without labels.

    Args:
        file, samples: as in `selection_hash`.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    labels = [] if file is None else [image.label for image in _read(file)[:samples]]
    return f"sha256:{hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:32]}" if any(labels) else None


def broken_selection_rules(fraction: DataFraction, stage: Stage) -> Iterator[str]:
    """Yield one sentence for each broken rule of data_fraction.file and of stage=select."""
    yield from _fraction(fraction)
    if isinstance(stage, Select):
        yield from _rounds(stage)
        if stage.continues:
            yield from _labelled_images(fraction, stage)


def _fraction(fraction: DataFraction) -> Iterator[str]:
    """Yield one sentence for each key that does not fit data_fraction.file."""
    file, samples = fraction.file, fraction.samples
    own = {"selected_by": selected_by(file), "selection_hash": selection_hash(file, samples)}
    for key, value in own.items():
        if getattr(fraction, key) != value:
            yield f"data_fraction.{key}={getattr(fraction, key)}: read from data_fraction.file. Remove it."
    if file is None:
        return
    if samples is None:
        yield f"data_fraction.file={file}: needs a number of images. Add data_fraction.samples=100, for example."
    elif samples > (listed := len(_read(file))):
        yield (
            f"data_fraction.samples={samples}: {file} lists {listed} images. Choose fewer, or select more with "
            "stage.rounds of stage=select."
        )
    if fraction.imbalance_factor is not None:
        yield (
            f"data_fraction.imbalance_factor={fraction.imbalance_factor}: not available with data_fraction.file, whose "
            "order decides. Remove one of them."
        )


def _rounds(stage: Select) -> Iterator[str]:
    """Yield a sentence if the rounds of stage=select are not nested."""
    rounds = list(stage.rounds)
    numbers = [size for size in rounds if isinstance(size, int)]
    if len(numbers) == len(rounds) and (not rounds or min(rounds) < 2 or rounds != sorted(set(rounds))):
        yield f"stage.rounds={rounds}: expected increasing numbers of images >= 2, such as [50,100,250]. Correct it."


def _labelled_images(fraction: DataFraction, stage: Select) -> Iterator[str]:
    """Yield one sentence for each key that does not fit a method which learns from labelled images."""
    file, samples, recorded = fraction.file, fraction.samples, stage.methods_with_labels.labels_hash
    if recorded != labels_hash(file, samples):
        yield f"stage.methods_with_labels.labels_hash={recorded}: read from data_fraction.file. Remove it."
    if file is None:
        yield (
            f"stage.method={stage.method}: needs images that are labelled already. Add data_fraction.file=selection.csv"
            " and data_fraction.samples=50, for example, for its first 50 images."
        )
    elif samples is not None and all(isinstance(size, int) and size <= samples for size in stage.rounds[-1:]):
        yield (
            f"stage.rounds={list(stage.rounds)}: {samples} images are labelled already. End with a larger number, "
            "which counts them."
        )


def _read(file: str) -> list[SelectedImage]:
    try:
        return read_selection(Path(file).expanduser())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"data_fraction.file={file}: not a readable selection.csv ({describe_error(error)}). Give the path of the "
            "selection.csv of a stage=select run."
        ) from error
