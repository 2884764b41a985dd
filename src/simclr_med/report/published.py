"""Published results (anchors/*.csv), each next to the most similar method of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.report.cells import NONE, format_cell, summarise_cells
from simclr_med.report.methods import find_main_method
from simclr_med.report.score_tables import MAIN, Table, format_number

ANCHORS = Path(__file__).parent / "anchors"
KNN_METRICS = ("test/knn_accuracy", "test/knn_auroc")
SIZE = 28  # pixels; of data sets without a size, and of most published results
LARGE_SIZES = (64, 128, 224)  # of our images that are compared with published results at 224 px
_CAUTIONS = {
    "chestmnist": "ChestMNIST has several labels per image: predicting no label at all reaches an accuracy of 0.947. "
    "Use its AUROC.",
    "dermamnist": "DermaMNIST: always predicting the largest class reaches an accuracy of 0.669.",
}


@dataclass(frozen=True)
class Anchor:
    """One published result.

    Attributes:
        dataset: name of the data set.
        source: name of its `Source`.
        method: the published method.
        kind: kind of the most similar method in the report: probe, finetune or baseline.
        origin: its pretraining, as in `methods.add_method_names`; None: the main method of the kind.
        budget: its label budget.
        accuracy, auroc: NaN where not published.
        encoder: the most similar encoder, where the report has several.
        caution: a remark about the AUROC.
        is_knn: whether it is a k-nearest-neighbour result; every probe records one too.
        sizes: of our images that it is compared with, in pixels.
    """

    dataset: str
    source: str
    method: str
    kind: str
    origin: str | None
    budget: str
    accuracy: float
    auroc: float
    encoder: str = "resnet18"
    caution: str = ""
    is_knn: bool = False
    sizes: tuple[int, ...] = (SIZE,)


@dataclass(frozen=True)
class Source:
    """Where results were published, and how their protocol differs."""

    name: str
    citation: str
    differs: str


def load_sources(names: set[str]) -> list[Source]:
    """Return the sources of these names."""
    table = pd.read_csv(ANCHORS / "sources.csv")
    return [Source(*map(str, row)) for row in table.itertuples(index=False) if row.source in names]


def load_anchors() -> list[Anchor]:
    """Return all published results."""
    small = _load_medmnist_plus("medmnistplus_28.csv", "MedMNIST+", (SIZE,))
    large = _load_medmnist_plus("medmnistplus_224.csv", "MedMNIST+ 224", LARGE_SIZES)
    return [*_load_thesis(), *_load_medmnist(), *small, *large]


def match_published(rows: pd.DataFrame, kept: pd.DataFrame | None = None) -> tuple[list[Table], list[Source]]:
    """Return the published results on the data sets of the report, each with the most similar method.

    Args:
        rows: of `score_tables.select_scored_runs`.
        kept: scores of the runs without the test images that have twins, of `twins.score_without_twins`. The published
            results have all images.

    Returns:
        no or one table, and its sources.
    """
    rows = rows.assign(size=rows["size"].astype(float).fillna(SIZE).astype(int))
    ours = set(zip(rows["dataset"], rows["size"], strict=True))
    pairs = [(anchor, size) for anchor in load_anchors() for size in anchor.sizes if (anchor.dataset, size) in ours]
    if not pairs:
        return [], []
    matches = [_match_anchor(anchor, rows[rows["size"] == size], size) for anchor, size in pairs]
    encoders = set(rows["encoder"])
    numbers = pd.DataFrame([numeric for numeric, _ in matches])
    shown = pd.DataFrame([text for _, text in matches])
    if kept is not None and len(kept):
        without = [_score_without_twins(rows, kept, numeric) for numeric, _ in matches]
        numbers["our AUROC without twins"] = [mean for mean, _ in without]
        shown["our AUROC without twins"] = [text for _, text in without]
    cautions = [text for dataset, text in _CAUTIONS.items() if dataset in set(rows["dataset"])]
    note = " ".join(
        [
            "Our results are those of the most similar method with the same label budget (mean over seeds). The "
            "protocols differ, as described below.",
            *cautions,
            *(f"Our encoder: {name}." for name in encoders if len(encoders) == 1),
        ]
    )
    table = Table("published", "Published results and ours", note, numbers, shown)
    return [table], load_sources({anchor.source for anchor, _ in pairs})


def _match_anchor(anchor: Anchor, rows: pd.DataFrame, size: int) -> tuple[dict[str, object], dict[str, str]]:
    """Return a published result with the most similar method, as a row of numbers and as a row of text.

    Args:
        anchor: the published result.
        rows: our runs on images of one size.
        size: of these images, in pixels.
    """
    same = rows[(rows["dataset"] == anchor.dataset) & (rows["kind"] == anchor.kind)]
    # Published results chose on the whole validation split; runs that did so as well are the most similar.
    is_split = same["budget"] == f"{anchor.budget} split"
    similar = same[is_split] if is_split.any() else same[same["budget"] == anchor.budget]
    if anchor.origin is not None:
        similar = similar[similar["origin"] == anchor.origin]
    encoder = _choose_encoder(anchor.encoder, similar["encoder"])
    similar = similar[similar["encoder"] == encoder]
    method = find_main_method(similar, anchor.kind)
    metrics = KNN_METRICS if anchor.is_knn else MAIN
    means = summarise_cells(similar[similar["method"] == method], ["method"], metrics)
    name = f"kNN of {method}" if method and anchor.is_knn else method or ""
    if method and rows["encoder"].nunique() > 1:
        name += f", {encoder}"
    numeric: dict[str, object] = {
        "data": anchor.dataset,
        "source": anchor.source,
        "what": anchor.method,
        "budget": anchor.budget,
        "accuracy": anchor.accuracy,
        "auroc": anchor.auroc,
        "auroc_caution": anchor.caution,
        "ours": name,
        "our size": size,
        "our encoder": encoder or "",
        "our method": method or "",
    }
    caution = f" ({anchor.caution})" if anchor.caution and anchor.auroc == anchor.auroc else ""
    text = {
        "data set": anchor.dataset,
        "source": anchor.source,
        "published method": anchor.method,
        "labels": anchor.budget,
        "published accuracy": format_number(anchor.accuracy),
        "published AUROC": format_number(anchor.auroc) + caution,
        "our method": name or "no run",
        "our size": f"{size} px",
    }
    for metric, score in zip(metrics, ("accuracy", "AUROC"), strict=True):
        values = means.iloc[0] if len(means) else None
        numeric[f"our {score}"] = np.nan if values is None else values[f"{metric} mean"]
        text[f"our {score}"] = NONE if values is None else format_cell(dict(values), metric)
    return numeric, text


def _score_without_twins(rows: pd.DataFrame, kept: pd.DataFrame, match: dict[str, object]) -> tuple[float, str]:
    """Return the mean AUROC of a match without twins, and its cell; of a kNN result there is none."""
    is_same = (rows["dataset"] == match["data"]) & (rows["size"] == match["our size"])
    is_same &= (rows["encoder"] == match["our encoder"]) & (rows["method"] == match["our method"])
    is_same &= rows["budget"].isin([str(match["budget"]), f"{match['budget']} split"])
    part = kept[kept["folder"].isin(rows[is_same]["folder"])]
    if part.empty or str(match["ours"]).startswith("kNN of "):
        return np.nan, NONE
    cell = summarise_cells(part, ["method"], MAIN).iloc[0]
    return float(cell["test/auroc mean"]), format_cell(dict(cell), "test/auroc")


def _choose_encoder(wanted: str, encoders: pd.Series) -> str | None:
    """Return the wanted encoder where it has runs, otherwise the one with the most runs."""
    counts = encoders.value_counts()
    return None if counts.empty else min(counts.index, key=lambda name: (name != wanted, -counts[name], name))


def _load_thesis() -> Iterator[Anchor]:
    table = pd.read_csv(ANCHORS / "original_simclr_medical.csv")
    keys = ["dataset", "protocol", "data_fraction", "augmentation_or_pretraining_data"]
    for (dataset, protocol, fraction, pretraining), group in table.groupby(keys, sort=False):
        values = dict(zip(group["metric"], group["value"], strict=True))
        sequence, _, data = str(pretraining).partition(":")
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


def _load_medmnist() -> Iterator[Anchor]:
    for row in pd.read_csv(ANCHORS / "medmnist_v2_resnet18.csv").itertuples(index=False):
        for size, stem in ((28, "small stem"), (224, "28 px enlarged")):
            scores = float(getattr(row, f"accuracy_{size}")), float(getattr(row, f"auroc_{size}"))
            method = f"supervised ResNet-18, {size} px ({stem})"
            encoder = "resnet18_small_stem" if size == SIZE else "resnet18"
            yield Anchor(str(row.dataset), "MedMNIST v2", method, "baseline", "", "full", *scores, encoder)


def _load_medmnist_plus(file: str, source: str, sizes: tuple[int, ...]) -> Iterator[Anchor]:
    columns = (
        ("ResNet-18, ImageNet, end to end", "finetune", "resnet18_finetuned"),
        ("best network, ImageNet, end to end", "finetune", "best_finetuned"),
        ("ResNet-18, ImageNet, linear probe", "probe", "resnet18_probe"),
        ("ViT-B/16, DINO, linear probe", "probe", "dino_vitb16_probe"),
        ("ResNet-18, ImageNet, kNN", "probe", "resnet18_knn"),
        ("ViT-B/16, DINO, kNN", "probe", "dino_vitb16_knn"),
    )
    for row in pd.read_csv(ANCHORS / file).itertuples(index=False):
        for method, kind, prefix in columns:
            accuracy, auroc = (float(getattr(row, f"{prefix}_{score}", np.nan)) for score in ("accuracy", "auroc"))
            if not np.isnan([accuracy, auroc]).all():
                yield Anchor(
                    str(row.dataset),
                    source,
                    method,
                    kind,
                    "ImageNet" if method.startswith("ResNet") else None,
                    "full",
                    accuracy,
                    auroc,
                    is_knn=method.endswith("kNN"),
                    sizes=sizes,
                )
