"""Stage preview: show a data set and its augmented views before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med import build
from simclr_med.augment.sequence import OneView
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Preview
from simclr_med.data.source import ImageSet, Source
from simclr_med.data.subsets import select_subset
from simclr_med.plots.channels import name_channels
from simclr_med.plots.class_counts import build_class_counts, plot_class_counts, print_class_counts, write_class_counts
from simclr_med.plots.image_grids import plot_sequences
from simclr_med.runs.identity import budget_name
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.preview_audit import audit_shortly
from simclr_med.stages.preview_checks import check_classes, check_sequence
from simclr_med.stages.sampling import groups, named, points, shown
from simclr_med.stages.setup import fraction_arguments

COLOUR_SAMPLE = 500  # training images that are checked for colour


def preview(run: Run[Config[Preview]], source: Source) -> None:
    """Draw images of each class, and images beside their views; count the classes; print warnings.

    The images of the validation and test splits are read by the short audit alone.
    """
    cfg = run.cfg
    with open_stage(run, uses_device=False) as frame:
        train = source.split("train")
        rows, notes = select_subset(
            train.labels, len(train), **fraction_arguments(cfg, source), classes=len(source.classes)
        )
        table = build_class_counts(*_counts(source, train, rows, budget_name(cfg.data_fraction)))
        total = sum(int(table[split].iloc[-1]) for split in source.available_splits())
        audited = audit_shortly(source, cfg.seed, total, cfg.stage.audited)
        warnings, remarks = _warnings(cfg, source, train, rows), source.remarks()
        print_class_counts(table, f"{source.name}: {source.size} px, {name_channels(source.channels)}")
        for line in [*notes, *(f"Warning: {warning}" for warning in warnings), *audited.lines]:
            print(line, flush=True)
        warnings += remarks.warnings  # printed when the run began
        write_class_counts(table, run.folder / "counts.csv")
        frame.start_loggers()
        counted = {str(split): f"{table[split].iloc[-1]:,} images" for split in table}
        frame.finish(
            Outcome(
                title=f"Preview of {source.name}",
                rows=counted
                | {"classes": str(len(source.classes) or "no labels"), "warnings": str(len(warnings))}
                | audited.rows,
                metrics={f"{split}/images": float(table[split].iloc[-1]) for split in source.available_splits()},
                tables={"warnings": warnings, "notes": [*remarks.facts, *notes], "audit": list(audited.lines)},
                pictures=_pictures(run, source, train, rows, table),
                tables_written=[run.folder / "counts.csv"],
            )
        )


def sequences_of(cfg: Config[Preview]) -> dict[str, Mapping[str, Any]]:
    """The nodes of the run's own sequence, first, and of those it is shown beside, by name; equal ones once."""
    own, options = cfg.augmentation.to_dict(), cfg.stage.options
    beside = {name: options[name] for name in cfg.stage.sequences if options[name] != own}
    name = f"{cfg.augmentation.name} (as set here)" if cfg.augmentation.name in beside else cfg.augmentation.name
    return {name: own, **beside}


def _counts(
    source: Source, train: ImageSet, rows: np.ndarray, fraction: str
) -> tuple[list[str], dict[str, list[int] | None], dict[str, int]]:
    """Class names, and by split (and data fraction, where there is one) the classes' counts and all images."""
    classes = list(source.classes)
    columns: dict[str, list[int] | None] = {}
    images: dict[str, int] = {}
    for split in source.available_splits():
        labels_NL = train.labels if split == "train" else source.labels(split)
        if labels_NL is None:
            columns[split], images[split] = None, len(train if split == "train" else source.split(split))
        else:
            columns[split], images[split] = _each(labels_NL, len(classes)), len(labels_NL)
        if split == "train" and fraction != "full":
            name = f"train, {fraction}"
            columns[name] = None if labels_NL is None else _each(labels_NL[rows], len(classes))
            images[name] = len(rows)
    return classes, columns, images


def _each(labels_NL: np.ndarray, classes: int) -> list[int]:
    if labels_NL.shape[1] > 1:
        return [int(count) for count in labels_NL.sum(axis=0)]
    return np.bincount(labels_NL[:, 0], minlength=classes).tolist()


def _warnings(cfg: Config[Preview], source: Source, train: ImageSet, rows: np.ndarray) -> list[str]:
    seen = train.images[points(len(train), COLOUR_SAMPLE, cfg.seed)]
    grey = source.channels == 1 or bool((seen == seen[..., :1]).all())
    ops = {name: node["ops"] for name, node in sequences_of(cfg).items()}
    found = check_sequence(ops, source.size, grey, cfg.dataset.mirror_p)
    if train.labels is None:
        return found
    return found + check_classes(
        source.classes, _each(train.labels[rows], len(source.classes)), budget_name(cfg.data_fraction)
    )


def _pictures(run: Run[Config[Preview]], source: Source, train: ImageSet, rows: np.ndarray, table: Any) -> list[Path]:
    cfg, folder = run.cfg, run.folder / "figures"
    folder.mkdir(exist_ok=True)
    kept = groups(None if train.labels is None else train.labels[rows], source.classes)
    chosen = rows[shown(kept.codes_N, len(rows), cfg.stage.images, cfg.seed)]
    names = [named(None if train.labels is None else train.labels[row], source.classes) for row in chosen]
    originals = np.ascontiguousarray(train.images[chosen])
    sequences = {name: build.instantiate_node(node) for name, node in sequences_of(cfg).items()}
    if source.channels not in (1, 3):
        for name in [name for name, sequence in sequences.items() if sequence.colour_ops]:
            print(f"{name}: not shown (needs RGB images: {', '.join(sequences.pop(name).colour_ops)}).", flush=True)
    blocks = {name: _views(sequence, originals, cfg.seed, cfg.stage.views) for name, sequence in sequences.items()}
    sheet, bars = folder / "sequences.png", folder / "counts.png"
    plot_sequences(originals, names, blocks, sheet)
    if train.labels is None:
        return [sheet]
    plot_class_counts(table, bars)
    return [_plot_originals(train, source.classes, cfg, folder / "originals.png"), sheet, bars]


def _plot_originals(train: ImageSet, classes: Sequence[str], cfg: Config[Preview], target: Path) -> Path:
    """Draw training images of each class, a row a class; a class with fewer images has gaps."""
    kept = groups(train.labels, classes)
    assert kept.codes_N is not None
    first, names, others = [], [], []
    for code in np.unique(kept.codes_N):
        members = np.flatnonzero(kept.codes_N == code)
        chosen = members[shown(None, len(members), cfg.stage.originals, cfg.seed)]
        images = train.images[chosen] / 255
        gaps = np.ones((cfg.stage.originals - len(chosen), *images.shape[1:]))
        first.append(train.images[chosen[0]])
        others.append(np.concatenate([images[1:], gaps]))
        names.append(kept.names[code])
    plot_sequences(np.array(first), names, {"more of the class": np.array(others)}, target)
    return target


def _views(sequence: Any, originals_NHWC: np.ndarray, seed: int, count: int) -> np.ndarray:
    """float32 [N, V, H, W, 3] in [0, 1]."""
    batch, view = torch.from_numpy(originals_NHWC), OneView(sequence)
    views = [view(batch, (seed, 0, step), (0, len(batch)), len(batch)) for step in range(count)]
    return torch.stack(views, dim=1).permute(0, 1, 3, 4, 2).numpy()
