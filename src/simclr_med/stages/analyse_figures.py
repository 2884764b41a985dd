"""The pictures of an analysis, from the features of the images that were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med.augment.sequence import to_float
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
        groups: what they are coloured by.
    """

    rows_N: np.ndarray
    images_NHWC: np.ndarray
    features_ND: np.ndarray
    labels_NL: np.ndarray | None
    groups: Groups


def pca_picture(
    shares: np.ndarray, looks: Mapping[Split, AnalysedSplit], flat: Mapping[Split, np.ndarray], folder: Path
) -> Path:
    """The spectrum, and the first two components of each split; the PCA is that of the training images."""
    panels = [_panel(split, look, flat[split][:, :2]) for split, look in looks.items()]
    plot_pca(shares, panels, _names(looks), folder / "pca.png")
    return folder / "pca.png"


def maps_pictures(
    cfg: Any, looks: Mapping[Split, AnalysedSplit], flat: Mapping[Split, np.ndarray], folder: Path
) -> tuple[list[Path], dict[Split, dict[str, np.ndarray]]]:
    """t-SNE under each perplexity, and UMAP where it is installed: the pictures, and the maps of each split by name.

    Each split is mapped by itself; one of too few images is left out.
    """
    placed: dict[Split, dict[str, np.ndarray]] = {split: {} for split in looks}
    for split, look in looks.items():
        if len(look.rows_N) < projections.FEWEST:
            print(
                f"Maps:     left out, for {len(look.rows_N)} {split} images are fewer than {projections.FEWEST}.",
                flush=True,
            )
    looks = {split: look for split, look in looks.items() if len(look.rows_N) >= projections.FEWEST}
    if not looks:
        return [], placed
    rows: dict[str, list[Panel]] = {}
    fewest = min(len(look.rows_N) for look in looks.values())
    values = projections.usable_perplexities(cfg.stage.perplexities, fewest)
    for value in sorted(set(map(float, cfg.stage.perplexities)) - set(values)):
        print(f"stage.perplexities={value:g} is too many neighbours for {fewest} images: using {values[-1]:g}.")
    for value in values:
        for split, look in looks.items():
            print(f"t-SNE:    {len(look.rows_N):,} {split} images, perplexity {value:g}", flush=True)
            points_N2 = projections.tsne(flat[split], value, cfg.seed)
            placed[split][f"tsne_{value:g}"] = points_N2
            rows.setdefault(f"perplexity {value:g}", []).append(_panel(split, look, points_N2))
    pictures = []
    if rows:
        plot_projections(rows, _names(looks), folder / "tsne.png")
        pictures.append(folder / "tsne.png")
    if not projections.is_umap_installed():
        print(f"UMAP:     left out, for umap-learn is not installed {EXTRA}.", flush=True)
        return pictures, placed
    for split in looks:
        placed[split]["umap"] = projections.umap(flat[split], cfg.seed)
    panels = [_panel(split, look, placed[split]["umap"]) for split, look in looks.items()]
    plot_projections({"UMAP": panels}, _names(looks), folder / "umap.png")
    return [*pictures, folder / "umap.png"], placed


def neighbours_sheet(cfg: Any, source: Source, looks: Mapping[Split, AnalysedSplit], folder: Path) -> Path:
    """Test images, each beside the training images whose features are nearest by cosine."""
    train, test = looks["train"], looks["test"]
    queries = shown(test.groups.codes_N, len(test.rows_N), cfg.stage.queries, cfg.seed)
    cosine, near = find_nearest(
        torch.from_numpy(test.features_ND[queries]), torch.from_numpy(train.features_ND), cfg.stage.neighbours
    )
    rows = []
    for query, values, places in zip(queries, cosine.tolist(), near.tolist(), strict=True):
        row = [Tile(test.images_NHWC[query], _label(source, test, query))]
        for value, place in zip(values, places, strict=True):
            caption = f"{value:.2f}: {_label(source, train, place)}".rstrip(": ")
            row.append(Tile(train.images_NHWC[place], caption, _alike(test, query, train, place)))
        rows.append(row)
    known = train.groups.codes_N is not None and test.groups.codes_N is not None
    told = "Blue frame: a label in common with the test image; orange: none." if known else "There are no labels."
    heads = ["test image", *(f"{k + 1}" for k in range(near.shape[1]))]
    title = f"{source.name}: test images and the nearest training images, with the cosine of their features. {told}"
    plot_gallery(rows, folder / "neighbours.png", title, heads)
    return folder / "neighbours.png"


def cam_sheet(
    run: Run, source: Source, model: SavedModel, looks: Mapping[Split, AnalysedSplit], folder: Path
) -> list[Path]:
    """Grad-CAM of right and of wrong answers to test images, where captum is installed and labels are."""
    look = looks.get("test")
    if look is None or look.labels_NL is None:
        print("Grad-CAM: left out, for there are no test images with labels.", flush=True)
        return []
    if not gradcam.is_captum_installed():
        print(f"Grad-CAM: left out, for captum is not installed {EXTRA}.", flush=True)
        return []
    task, count, seed = model.head.task, run.cfg.stage.cams, run.cfg.seed
    where = resolve_device(run.cfg.trainer.accelerator)
    encoder, head = model.encoder.to(where).eval(), model.head.module.to(where).eval()
    probabilities_NK = classify_features(head, task, torch.from_numpy(look.features_ND).to(where))
    best_N = probabilities_NK.argmax(axis=1)
    right_N = _holds(look.labels_NL, best_N)
    rows, stage = [], ""
    for wanted in (True, False):
        those = np.flatnonzero(right_N == wanted)
        codes = None if look.groups.codes_N is None else look.groups.codes_N[those]
        chosen = those[shown(codes, len(those), count, seed)]
        if len(chosen) == 0:
            continue
        images_BCHW = to_float(torch.from_numpy(look.images_NHWC[chosen])).to(where)
        heat, stage = gradcam.grad_cam(encoder, head, images_BCHW, torch.from_numpy(best_N[chosen]).to(where))
        answers = [f"answer {source.classes[best_N[row]]} ({probabilities_NK[row, best_N[row]]:.2f})" for row in chosen]
        rows.append([Tile(look.images_NHWC[row], f"is {_label(source, look, row)}", wanted) for row in chosen])
        rows.append(
            [
                Tile(look.images_NHWC[row], answer, wanted, heat[k].numpy())
                for k, (row, answer) in enumerate(zip(chosen, answers, strict=True))
            ]
        )
    several = " The most probable label is asked about." if task == MULTI_LABEL else ""
    size = "x".join(map(str, heat.shape[1:]))
    title = (
        f"{source.name}, {model.stage} of {model.dataset}: Grad-CAM at {stage} ({size}).{several}\n"
        f"Blue frame: right answers ({int(right_N.sum()):,} of {len(right_N):,}); orange: wrong ones."
    )
    plot_gallery(rows, folder / "gradcam.png", title)
    return [folder / "gradcam.png"]


def _panel(split: str, look: AnalysedSplit, points_N2: np.ndarray) -> Panel:
    return Panel(f"{split}: {len(look.rows_N):,} images", points_N2, look.groups.codes_N)


def _names(looks: Mapping[Split, AnalysedSplit]) -> tuple[str, ...]:
    """Of the groups, the same in every split that has labels."""
    return max((look.groups.names for look in looks.values()), key=len)


def _label(source: Source, look: AnalysedSplit, row: int) -> str:
    return named(None if look.labels_NL is None else look.labels_NL[row], source.classes)


def _alike(one: AnalysedSplit, row: int, other: AnalysedSplit, place: int) -> bool | None:
    """Whether two images have a label in common; None where that is not known."""
    if one.labels_NL is None or other.labels_NL is None:
        return None
    if one.labels_NL.shape[1] == 1:
        return bool(one.labels_NL[row, 0] == other.labels_NL[place, 0])
    mine, theirs = one.labels_NL[row], other.labels_NL[place]
    return bool((mine & theirs).any() or not (mine.any() or theirs.any()))


def _holds(labels_NL: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """Whether each answer is the image's class, or one of its labels; bool [N]."""
    if labels_NL.shape[1] == 1:
        return np.asarray(labels_NL[:, 0] == answers_N)
    return np.asarray(labels_NL[np.arange(len(labels_NL)), answers_N] == 1)
