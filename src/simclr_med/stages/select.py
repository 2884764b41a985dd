"""Stage select: which images to label first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch.nn.functional import normalize

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.audit.inspection import number_twins
from simclr_med.config.schema import Config
from simclr_med.config.select_nodes import Select
from simclr_med.data.progress import show_progress
from simclr_med.data.selected_images import hash_image
from simclr_med.data.source import ImageSet, Source
from simclr_med.errors import DataError
from simclr_med.evaluation.label_order import Candidates, Order
from simclr_med.plots.image_grids import Tile, plot_gallery
from simclr_med.runs.run import Run
from simclr_med.selection_csv import SelectedImage, format_selection
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.preview_audit import read_images
from simclr_med.stages.probe import feature_reader

ACROSS = 10  # images of a row of the contact sheet
PROTOCOL = "features of training images without augmentation; no labels, and no other split"


def select(run: Run[Config[Select]], source: Source) -> None:
    """Write selection.csv and a contact sheet. Only the training images are read, and no labels are used."""
    cfg = run.cfg
    with open_stage(run) as frame:
        if "train" not in source.available_splits():
            raise DataError(f"dataset={source.name}: training images are required for stage=select. Add some.")
        images = source.split("train")
        rounds = _cut_rounds(cfg, source.name, len(images))
        twins_N = _find_twins(source, cfg.seed)
        frame.start_loggers()
        choose = build.instantiate_partial(cfg.stage.methods.chosen(cfg.stage.method))
        order: Order = choose(candidates=Candidates(_features(run, source), twins_N), rounds=rounds, seed=cfg.seed)
        if len(order.rows) < rounds[-1]:
            print(f"Only {len(order.rows):,} images are selected: all other images are twins of these.", flush=True)
        write_text(run.folder / "selection.csv", format_selection(_list_lines(cfg.stage.method, order, images)))
        repeated = len(twins_N) - len(np.unique(twins_N))
        rows = {
            "method": cfg.stage.method,
            "training images": f"{len(images):,}",
            "selected": f"{len(order.rows):,} (rounds of {', '.join(f'{size:,}' for size in rounds)})",
            "images with an earlier twin": f"{repeated:,}",
        }
        frame.finish(
            Outcome(
                title=f"Selection of {source.name}",
                rows=rows | order.facts,
                metrics={"train/images": len(images), "train/selected": len(order.rows), "train/twins": repeated},
                facts={"protocol": PROTOCOL},
                pictures=[_draw_sheet(run, source.name, images, order)],
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


def _find_twins(source: Source, seed: int) -> np.ndarray:
    pool = read_images(source, ("train",))
    with show_progress("Looking for twins", "steps") as show:
        return number_twins(pool, seed, show)


def _features(run: Run[Config[Select]], source: Source) -> Callable[[], np.ndarray]:
    """Return a function that computes the features, which not every method needs."""
    return lambda: normalize(feature_reader(run, source)("train")).numpy()


def _list_lines(method: str, order: Order, images: ImageSet) -> list[SelectedImage]:
    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    return [
        SelectedImage(
            row,
            hash_image(images.images[row]),
            method,
            "" if images.names is None else images.names[row],
            *map(text, (size, cluster, score)),
        )
        for row, size, cluster, score in zip(order.rows, order.rounds, order.clusters, order.scores, strict=True)
    ]


def _draw_sheet(run: Run[Config[Select]], name: str, images: ImageSet, order: Order) -> Path:
    shown = order.rows[: run.cfg.stage.pictures]
    tiles = []
    for rank, row in enumerate(shown, 1):
        place = f"row {row}" if images.names is None else Path(images.names[row]).name
        tiles.append(Tile(np.ascontiguousarray(images.images[row]), f"{rank}: {place}"))
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    title = f"{name}: the first {len(shown)} images to label, selected by {run.cfg.stage.method}."
    plot_gallery([tiles[i : i + ACROSS] for i in range(0, len(tiles), ACROSS)], folder / "selection.png", title)
    return folder / "selection.png"
