"""Stage select: which images to label first, and which ones next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.nn.functional import normalize

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.audit.inspection import number_twins
from simclr_med.config.schema import Config
from simclr_med.config.select_nodes import Select
from simclr_med.data.progress import show_progress
from simclr_med.data.selected_images import LabelledImages, hash_image, load_labelled_images
from simclr_med.data.source import ImageSet, Source
from simclr_med.errors import DataError
from simclr_med.evaluation.label_order import Candidates, Order
from simclr_med.evaluation.uncertainty import Known
from simclr_med.plots.image_grids import Tile, plot_gallery
from simclr_med.runs.run import Run
from simclr_med.selection_csv import LONGEST_METHOD, SelectedImage, format_selection
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.preview_audit import read_images
from simclr_med.stages.probe import feature_reader
from simclr_med.types import MULTI_LABEL, Task

ACROSS = 10  # images of a row of the contact sheet
PROTOCOL = "features of training images without augmentation; no labels, and no other split"
PROTOCOL_WITH_LABELS = (
    "features of training images without augmentation; the labels of the images labelled already, and no other split; "
    "the next images are biased by design: those that a probe of the labelled ones is least sure of"
)


def select(run: Run[Config[Select]], source: Source) -> None:
    """Write selection.csv and a contact sheet.

    Only the training images are read. No labels are used, or those of the images labelled already if the method
    continues their selection.
    """
    cfg = run.cfg
    with open_stage(run) as frame:
        if "train" not in source.available_splits():
            raise DataError(f"dataset={source.name}: training images are required for stage=select. Add some.")
        images = source.split("train")
        rounds = _cut_rounds(cfg, source.name, len(images))
        labelled = _load_labelled(run, source)
        twins_N = _find_twins(source, cfg.seed)
        frame.start_loggers()
        order = _choose(run, Candidates(_features(run, source), twins_N), rounds, labelled)
        if len(order.rows) < rounds[-1]:
            print(f"Only {len(order.rows):,} images are selected: all other images are twins of these.", flush=True)
        lines = _list_lines(run, order, images, labelled)
        write_text(run.folder / "selection.csv", format_selection(lines))
        repeated = len(twins_N) - len(np.unique(twins_N))
        rows = {
            "method": lines[0].method,
            "training images": f"{len(images):,}",
            "selected": f"{len(order.rows):,} (rounds of {', '.join(f'{size:,}' for size in rounds)})",
            "images with an earlier twin": f"{repeated:,}",
        }
        metrics = {"train/images": len(images), "train/selected": len(order.rows), "train/twins": repeated}
        start = 0
        if labelled is not None:
            start = len(labelled.lines)
            metrics["train/labelled"] = start
            rows["selected"] = f"{len(order.rows):,} ({start:,} labelled already, {len(order.rows) - start:,} to label)"
            rows["biased by design"] = (
                "the next images are those that the probe is least sure of; draw test images at random"
            )
        frame.finish(
            Outcome(
                title=f"Selection of {source.name}",
                rows=rows | order.facts,
                metrics=metrics,
                facts={"protocol": PROTOCOL if labelled is None else PROTOCOL_WITH_LABELS},
                pictures=[_draw_sheet(run, source.name, images, order, start)],
                tables_written=[run.folder / "selection.csv"],
            )
        )


def _cut_rounds(cfg: Config[Select], name: str, count: int) -> list[int]:
    """Return the rounds that the data set has images for; larger ones become one round of all images."""
    rounds = [size for size in cfg.stage.rounds if size <= count]
    if len(rounds) < len(cfg.stage.rounds):
        print(
            f"stage.rounds={list(cfg.stage.rounds)}: {name} has only {count:,} training images. The last "
            "round has all of them.",
            flush=True,
        )
        rounds.append(count)
    return list(dict.fromkeys(rounds))


def _load_labelled(run: Run[Config[Select]], source: Source) -> LabelledImages | None:
    """Return the images labelled already; None for a method that uses no labels."""
    fraction = run.cfg.data_fraction
    if not run.cfg.stage.continues or fraction.file is None or fraction.samples is None:
        return None
    return load_labelled_images(fraction.file, fraction.samples, source)


def _find_twins(source: Source, seed: int) -> np.ndarray:
    pool = read_images(source, ("train",))
    with show_progress("Looking for twins", "steps") as show:
        return number_twins(pool, seed, show)


def _features(run: Run[Config[Select]], source: Source) -> Callable[[], np.ndarray]:
    """Return a function that computes the features, which not every method needs."""
    return lambda: normalize(feature_reader(run, source)("train")).numpy()


def _choose(
    run: Run[Config[Select]], candidates: Candidates, rounds: list[int], labelled: LabelledImages | None
) -> Order:
    """Return the images that the method chooses; the labelled ones come first.

    Raises:
        DataError: no image is left to choose.
    """
    stage, given = run.cfg.stage, {"candidates": candidates, "rounds": rounds, "seed": run.cfg.seed}
    if labelled is None:
        order: Order = build.instantiate_partial(stage.methods.chosen(stage.method))(**given)
        return order
    columns = labelled.labels_ML.shape[1]
    task: Task = MULTI_LABEL if columns > 1 else "multi-class"
    classes = columns if columns > 1 else int(labelled.labels_ML.max()) + 1
    fit = build.instantiate_partial(stage.methods_with_labels.probe)
    known = Known(labelled.rows_M, labelled.labels_ML, task, classes, fit)
    order = build.instantiate_partial(stage.methods_with_labels.chosen(stage.method))(known=known, **given)
    if len(order.rows) == len(labelled.rows_M):
        raise DataError(
            f"data_fraction.samples={len(labelled.rows_M)}: no training image is left to label, except twins of the "
            "labelled ones. Add images."
        )
    return order


def _list_lines(
    run: Run[Config[Select]], order: Order, images: ImageSet, labelled: LabelledImages | None
) -> list[SelectedImage]:
    """Return the lines of the file; those of labelled images keep what the given file says of them."""

    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    given = () if labelled is None else labelled.lines
    method = run.cfg.stage.method if not given else _join_methods(given[0].method, run.cfg.stage.method)
    lines = [
        SelectedImage(
            row,
            hash_image(images.images[row]),
            method,
            "" if images.names is None else images.names[row],
            *map(text, (size, cluster, score)),
        )
        for row, size, cluster, score in zip(order.rows, order.rounds, order.clusters, order.scores, strict=True)
    ]
    kept = [
        replace(line, round=old.round, cluster=old.cluster, score=old.score, label=old.label)
        for line, old in zip(lines[: len(given)], given, strict=True)
    ]
    return kept + lines[len(kept) :]


def _join_methods(first: str, method: str) -> str:
    """Return the name of a continued selection: that of both methods, each once.

    Raises:
        DataError: the name is too long.
    """
    name = first if method in first.split("-") else f"{first}-{method}"
    if len(name) > LONGEST_METHOD:
        raise DataError(f"data_fraction.file: the method {first} is too long to be continued. Shorten it in the file.")
    return name


def _draw_sheet(run: Run[Config[Select]], name: str, images: ImageSet, order: Order, start: int) -> Path:
    """Draw the first images that are not labelled yet."""
    shown = order.rows[start : start + run.cfg.stage.pictures]
    tiles = []
    for rank, row in enumerate(shown, start + 1):
        place = f"row {row}" if images.names is None else Path(images.names[row]).name
        tiles.append(Tile(np.ascontiguousarray(images.images[row]), f"{rank}: {place}"))
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    title = (
        f"{name}: the {'next' if start else 'first'} {len(shown)} images to label, selected by {run.cfg.stage.method}."
    )
    plot_gallery([tiles[i : i + ACROSS] for i in range(0, len(tiles), ACROSS)], folder / "selection.png", title)
    return folder / "selection.png"
