"""The pictures of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from simclr_med.augment.sequence import to_float
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Analyse
from simclr_med.data.source import Source
from simclr_med.evaluation import gradcam, projections
from simclr_med.evaluation.knn import find_nearest
from simclr_med.evaluation.predict import classify_features
from simclr_med.plots.embeddings import Panel, plot_pca, plot_projections
from simclr_med.plots.image_grids import Tile, plot_gallery
from simclr_med.runs.run import Run
from simclr_med.stages.sampling import Groups, named, shown
from simclr_med.stages.saved_model import SavedModel
from simclr_med.training.devices import resolve_device
from simclr_med.types import MULTI_LABEL, Split

EXTRA = "(pip install 'simclr-med[analyse]')"


@dataclass(frozen=True)
class AnalysedSplit:
    """The chosen images of one split.

    Attributes:
        rows_N: int64, their places in the split.
        images_NHWC: uint8.
        features_ND: float32.
        labels_NL: int64 in medmnist's layout; None without labels.
        groups: their colours.
    """

    rows_N: np.ndarray
    images_NHWC: np.ndarray
    features_ND: np.ndarray
    labels_NL: np.ndarray | None
    groups: Groups


def pca_picture(
    shares: np.ndarray, splits: Mapping[Split, AnalysedSplit], flat: Mapping[Split, np.ndarray], folder: Path
) -> Path:
    """Draw the spectrum and the first two components of each split; the PCA is fitted on the training images."""
    panels = [_panel(split, analysed, flat[split][:, :2]) for split, analysed in splits.items()]
    plot_pca(shares, panels, _names(splits), folder / "pca.png")
    return folder / "pca.png"


def maps_pictures(
    cfg: Config[Analyse], splits: Mapping[Split, AnalysedSplit], flat: Mapping[Split, np.ndarray], folder: Path
) -> tuple[list[Path], dict[Split, dict[str, np.ndarray]]]:
    """Draw t-SNE for each perplexity, and UMAP if it is installed; return the pictures and the maps of each split.

    Each split is mapped by itself; a split with too few images is left out.
    """
    maps: dict[Split, dict[str, np.ndarray]] = {split: {} for split in splits}
    for split, analysed in splits.items():
        if len(analysed.rows_N) < projections.FEWEST:
            print(
                f"Maps:     left out: {len(analysed.rows_N)} {split} images are fewer than {projections.FEWEST}.",
                flush=True,
            )
    splits = {split: analysed for split, analysed in splits.items() if len(analysed.rows_N) >= projections.FEWEST}
    if not splits:
        return [], maps
    rows: dict[str, list[Panel]] = {}
    fewest = min(len(analysed.rows_N) for analysed in splits.values())
    values = projections.usable_perplexities(cfg.stage.perplexities, fewest)
    for value in sorted(set(map(float, cfg.stage.perplexities)) - set(values)):
        (used,) = projections.usable_perplexities([value], fewest)
        print(f"stage.perplexities={value:g} is too large for {fewest} images: using {used:g}.")
    for value in values:
        for split, analysed in splits.items():
            print(f"t-SNE:    {len(analysed.rows_N):,} {split} images, perplexity {value:g}", flush=True)
            points_N2 = projections.tsne(flat[split], value, cfg.seed)
            maps[split][f"tsne_{value:g}"] = points_N2
            rows.setdefault(f"perplexity {value:g}", []).append(_panel(split, analysed, points_N2))
    pictures = []
    if rows:
        plot_projections(rows, _names(splits), folder / "tsne.png")
        pictures.append(folder / "tsne.png")
    if not projections.is_umap_installed():
        print(f"UMAP:     left out: umap-learn is not installed {EXTRA}.", flush=True)
        return pictures, maps
    for split in splits:
        maps[split]["umap"] = projections.umap(flat[split], cfg.seed)
    panels = [_panel(split, analysed, maps[split]["umap"]) for split, analysed in splits.items()]
    plot_projections({"UMAP": panels}, _names(splits), folder / "umap.png")
    return [*pictures, folder / "umap.png"], maps


def neighbours_sheet(cfg: Config[Analyse], source: Source, splits: Mapping[Split, AnalysedSplit], folder: Path) -> Path:
    """Draw test images, each beside the training images whose features are nearest by cosine."""
    train, test = splits["train"], splits["test"]
    queries = shown(test.groups.codes_N, len(test.rows_N), cfg.stage.queries, cfg.seed)
    cosine, near = find_nearest(
        torch.from_numpy(test.features_ND[queries]), torch.from_numpy(train.features_ND), cfg.stage.neighbours
    )
    rows = []
    for query, values, places in zip(queries, cosine.tolist(), near.tolist(), strict=True):
        row = [Tile(test.images_NHWC[query], _label(source, test, query))]
        for value, place in zip(values, places, strict=True):
            caption = f"{value:.2f}: {_label(source, train, place)}".rstrip(": ")
            row.append(Tile(train.images_NHWC[place], caption, _shares_label(test, query, train, place)))
        rows.append(row)
    known = train.groups.codes_N is not None and test.groups.codes_N is not None
    legend = "Blue frame: a label in common with the test image; orange: none." if known else "There are no labels."
    heads = ["test image", *(f"{k + 1}" for k in range(near.shape[1]))]
    title = f"{source.name}: test images and the nearest training images, with the cosine of their features. {legend}"
    plot_gallery(rows, folder / "neighbours.png", title, heads)
    return folder / "neighbours.png"


def cam_sheet(
    run: Run[Config[Analyse]], source: Source, model: SavedModel, splits: Mapping[Split, AnalysedSplit], folder: Path
) -> list[Path]:
    """Grad-CAM of correct and of wrong predictions on test images, if captum is installed and there are labels."""
    analysed = splits.get("test")
    if analysed is None or analysed.labels_NL is None:
        print("Grad-CAM: left out: there are no test images with labels.", flush=True)
        return []
    if not gradcam.is_captum_installed():
        print(f"Grad-CAM: left out: captum is not installed {EXTRA}.", flush=True)
        return []
    if not model.encoder.feature_map():
        print("Grad-CAM: left out: the encoder has no layer whose output is a map.", flush=True)
        return []
    task, count, seed = model.head.task, run.cfg.stage.cams, run.cfg.seed
    where = resolve_device(run.cfg.trainer.accelerator)
    encoder, head = model.encoder.to(where).eval(), model.head.module.to(where).eval()
    probabilities_NK = classify_features(head, task, torch.from_numpy(analysed.features_ND).to(where))
    best_N = probabilities_NK.argmax(axis=1)
    right_N = _is_correct(analysed.labels_NL, best_N)
    rows, stage = [], ""
    for wanted in (True, False):
        those = np.flatnonzero(right_N == wanted)
        codes = None if analysed.groups.codes_N is None else analysed.groups.codes_N[those]
        chosen = those[shown(codes, len(those), count, seed)]
        if len(chosen) == 0:
            continue
        images_BCHW = to_float(torch.from_numpy(analysed.images_NHWC[chosen])).to(where)
        heat, stage = gradcam.grad_cam(encoder, head, images_BCHW, torch.from_numpy(best_N[chosen]).to(where))
        captions = [
            f"predicted {source.classes[best_N[row]]} ({probabilities_NK[row, best_N[row]]:.2f})" for row in chosen
        ]
        rows.append([Tile(analysed.images_NHWC[row], f"is {_label(source, analysed, row)}", wanted) for row in chosen])
        rows.append(
            [
                Tile(analysed.images_NHWC[row], caption, wanted, heat[k].numpy())
                for k, (row, caption) in enumerate(zip(chosen, captions, strict=True))
            ]
        )
    several = " The most probable label is explained." if task == MULTI_LABEL else ""
    size = "x".join(map(str, heat.shape[1:]))
    title = (
        f"{source.name}, {model.stage} of {model.dataset}: Grad-CAM at {stage} ({size}).{several}\n"
        f"Blue frame: correct predictions ({int(right_N.sum()):,} of {len(right_N):,}); orange: wrong ones."
    )
    plot_gallery(rows, folder / "gradcam.png", title)
    return [folder / "gradcam.png"]


def _panel(split: str, analysed: AnalysedSplit, points_N2: np.ndarray) -> Panel:
    return Panel(f"{split}: {len(analysed.rows_N):,} images", points_N2, analysed.groups.codes_N)


def _names(splits: Mapping[Split, AnalysedSplit]) -> tuple[str, ...]:
    """Of the groups, the same in every split that has labels."""
    return max((analysed.groups.names for analysed in splits.values()), key=len)


def _label(source: Source, analysed: AnalysedSplit, row: int) -> str:
    return named(None if analysed.labels_NL is None else analysed.labels_NL[row], source.classes)


def _shares_label(one: AnalysedSplit, row: int, other: AnalysedSplit, place: int) -> bool | None:
    """Whether two images have a label in common; None where that is not known."""
    if one.labels_NL is None or other.labels_NL is None:
        return None
    if one.labels_NL.shape[1] == 1:
        return bool(one.labels_NL[row, 0] == other.labels_NL[place, 0])
    mine, theirs = one.labels_NL[row], other.labels_NL[place]
    return bool((mine & theirs).any() or not (mine.any() or theirs.any()))


def _is_correct(labels_NL: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
    """Whether each prediction is the image's class, or one of its labels; bool [N]."""
    if labels_NL.shape[1] == 1:
        return np.asarray(labels_NL[:, 0] == predicted_N)
    return np.asarray(labels_NL[np.arange(len(labels_NL)), predicted_N] == 1)
