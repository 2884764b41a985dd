"""Published results beside ours: the figures of anchors/*.csv as they were published; no run of ours made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.report.methods import find_main_method
from simclr_med.report.score_tables import MAIN, NONE, Table, format_mean, format_number, mean_over_seeds

ANCHORS = Path(__file__).parent / "anchors"
NEIGHBOURS = ("test/knn_accuracy", "test/knn_auroc")
SIZE = 28  # pixels: of all published images here
_CAUTIONS = {
    "chestmnist": "ChestMNIST has many labels an image: answering none scores 0.947 accuracy. Read its AUROC.",
    "dermamnist": "DermaMNIST's largest class alone scores 0.669 accuracy.",
}


@dataclass(frozen=True)
class Anchor:
    """One published result.

    Attributes:
        dataset, source: whose and where.
        what: in words.
        kind: of our method that is nearest to it: probe, finetune or baseline.
        origin: of that method as `methods.add_method_names` says it; None: the find_main_method of its kind.
        budget: as ours.
        accuracy, auroc: NaN where not published.
        encoder: of ours that is nearest to it, where there are runs of several.
        caution: about its AUROC.
        by_neighbours: whether k-nearest neighbours answered, as they do beside every probe of ours.
    """

    dataset: str
    source: str
    what: str
    kind: str
    origin: str | None
    budget: str
    accuracy: float
    auroc: float
    encoder: str = "resnet18"
    caution: str = ""
    by_neighbours: bool = False


@dataclass(frozen=True)
class Source:
    """Where published figures are from, and what is different there, in words."""

    name: str
    citation: str
    differs: str


def load_sources(names: set[str]) -> list[Source]:
    """Those of these names."""
    table = pd.read_csv(ANCHORS / "sources.csv")
    return [Source(*map(str, row)) for row in table.itertuples(index=False) if row.source in names]


def load_anchors() -> list[Anchor]:
    """All published results."""
    return [*_thesis(), *_medmnist(), *_medmnist_plus()]


def match_published(rows: pd.DataFrame) -> tuple[list[Table], list[Source]]:
    """The published results on the data sets that we have runs on, each beside ours that is nearest.

    Args:
        rows: of `tables.scored`.

    Returns:
        no or one table, and its sources.
    """
    ours = rows[(rows["size"] == SIZE) | rows["size"].isna()]
    found = [one for one in load_anchors() if one.dataset in set(ours["dataset"])]
    if not found:
        return [], []
    records = [_beside(one, ours) for one in found]
    encoders = set(ours["encoder"])
    numbers = pd.DataFrame([numeric for numeric, _ in records])
    shown = pd.DataFrame([text for _, text in records])
    cautions = [text for dataset, text in _CAUTIONS.items() if dataset in set(ours["dataset"])]
    note = " ".join(
        [
            "Ours is the nearest method under the same budget (mean over seeds); protocols differ, as said below.",
            *cautions,
            *(f"Our encoder: {name}." for name in encoders if len(encoders) == 1),
        ]
    )
    return [Table("published", "Published results beside ours", note, numbers, shown)], load_sources(
        {one.source for one in found}
    )


def _beside(one: Anchor, ours: pd.DataFrame) -> tuple[dict[str, object], dict[str, str]]:
    cell_rows = ours[(ours["dataset"] == one.dataset) & (ours["budget"] == one.budget) & (ours["kind"] == one.kind)]
    if one.origin is not None:
        cell_rows = cell_rows[cell_rows["origin"] == one.origin]
    encoder = _nearest(one.encoder, cell_rows["encoder"])
    cell_rows = cell_rows[cell_rows["encoder"] == encoder]
    method = find_main_method(cell_rows, one.kind)
    metrics = NEIGHBOURS if one.by_neighbours else MAIN
    mine = mean_over_seeds(cell_rows[cell_rows["method"] == method], ["method"], metrics)
    ours_told = f"kNN beside {method}" if method and one.by_neighbours else method or ""
    if method and ours["encoder"].nunique() > 1:
        ours_told += f", {encoder}"
    numeric: dict[str, object] = {
        "data": one.dataset,
        "source": one.source,
        "what": one.what,
        "budget": one.budget,
        "accuracy": one.accuracy,
        "auroc": one.auroc,
        "auroc_caution": one.caution,
        "ours": ours_told,
        "our encoder": encoder or "",
    }
    text = {
        "data set": one.dataset,
        "source": one.source,
        "method there": one.what,
        "labels": one.budget,
        "accuracy there": format_number(one.accuracy),
        "AUROC there": format_number(one.auroc)
        + (f" ({one.caution})" if one.caution and one.auroc == one.auroc else ""),
        "ours, nearest": ours_told or "no run",
    }
    for metric, word in zip(metrics, ("accuracy", "AUROC"), strict=True):
        values = mine.iloc[0] if len(mine) else None
        numeric[f"our {word}"] = np.nan if values is None else values[f"{metric} mean"]
        text[f"our {word}"] = (
            NONE if values is None else format_mean(*(values[f"{metric} {part}"] for part in ("mean", "low", "runs")))
        )
    return numeric, text


def _nearest(wanted: str, encoders: pd.Series) -> str | None:
    """The encoder itself where there are runs of it, else that with the most runs."""
    counts = encoders.value_counts()
    return None if counts.empty else sorted(counts.index, key=lambda name: (name != wanted, -counts[name], name))[0]


def _thesis() -> Iterator[Anchor]:
    table = pd.read_csv(ANCHORS / "original_simclr_medical.csv")
    keys = ["dataset", "protocol", "data_fraction", "augmentation_or_pretraining_data"]
    for (dataset, protocol, fraction, seen), group in table.groupby(keys, sort=False):
        values = dict(zip(group["metric"], group["value"], strict=True))
        sequence, _, data = str(seen).partition(":")
        origin = {"none": "", "": ""}.get(sequence)
        if origin is None:
            *before, last = data.split("+") if data else [str(dataset)]
            own = "own" if last == dataset else last
            origin = " then ".join([*before, own]) + f" {sequence}"
        yield Anchor(
            str(dataset),
            "thesis",
            f"{protocol}, {origin}" if origin else str(protocol),
            str(protocol),
            origin,
            str(fraction) if fraction == "full" else f"n{fraction}",
            float(values.get("accuracy", np.nan)),
            float(values.get("auroc", np.nan)),
            caution="" if protocol == "probe" else "train mode",
        )


def _medmnist() -> Iterator[Anchor]:
    for row in pd.read_csv(ANCHORS / "medmnist_v2_resnet18.csv").itertuples(index=False):
        for size, stem in ((28, "small stem"), (224, "28 px enlarged")):
            scores = float(getattr(row, f"accuracy_{size}")), float(getattr(row, f"auroc_{size}"))
            what = f"supervised ResNet-18, {size} px ({stem})"
            encoder = "resnet18_small_stem" if size == SIZE else "resnet18"
            yield Anchor(str(row.dataset), "MedMNIST v2", what, "baseline", "", "full", *scores, encoder)


def _medmnist_plus() -> Iterator[Anchor]:
    columns = (
        ("ResNet-18, ImageNet, end to end", "finetune", "resnet18_finetuned"),
        ("best network, ImageNet, end to end", "finetune", "best_finetuned"),
        ("ResNet-18, ImageNet, linear probe", "probe", "resnet18_probe"),
        ("ViT-B/16, DINO, linear probe", "probe", "dino_vitb16_probe"),
        ("ResNet-18, ImageNet, kNN", "probe", "resnet18_knn"),
        ("ViT-B/16, DINO, kNN", "probe", "dino_vitb16_knn"),
    )
    for row in pd.read_csv(ANCHORS / "medmnistplus_28.csv").itertuples(index=False):
        for what, kind, prefix in columns:
            accuracy, auroc = (float(getattr(row, f"{prefix}_{score}", np.nan)) for score in ("accuracy", "auroc"))
            if not np.isnan([accuracy, auroc]).all():
                origin = "ImageNet" if what.startswith("ResNet") else None
                near = what.endswith("kNN")
                yield Anchor(
                    str(row.dataset), "MedMNIST+", what, kind, origin, "full", accuracy, auroc, by_neighbours=near
                )
