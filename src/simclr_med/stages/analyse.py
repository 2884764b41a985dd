"""Stage analyse: draw an encoder's features and measure how well they separate the classes, without training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simclr_med.augment.sequence import OneView
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Analyse
from simclr_med.data.datamodule import one_hot_targets
from simclr_med.data.source import Source
from simclr_med.data.subsets import select_subset
from simclr_med.errors import DataError, RunError
from simclr_med.evaluation import projections
from simclr_med.evaluation.embedding_files import Embedded, write_npz, write_parquet
from simclr_med.evaluation.features import check_channels_of, extract_features
from simclr_med.evaluation.knn import knn_scores
from simclr_med.evaluation.representation import alignment, effective_rank, feature_std, uniformity
from simclr_med.metrics import classification
from simclr_med.models.encoders import Encoder
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.stages.analyse_figures import AnalysedSplit, cam_sheet, maps_pictures, neighbours_sheet, pca_picture
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.network import build_encoder, build_sequence, check_channels
from simclr_med.stages.probe import reader_of
from simclr_med.stages.sampling import groups, points
from simclr_med.stages.saved_model import SavedModel, check_classes, load_model_of
from simclr_med.stages.setup import fraction_arguments
from simclr_med.training.devices import resolve_device
from simclr_med.types import Split

PROTOCOL = "features from images without augmentation; the PCA is fitted on training images, nothing on test images"


def analyse(run: Run[Config[Analyse]], source: Source) -> None:
    """Measure the features of some training and test images, draw them, and save them for other programs."""
    cfg = run.cfg
    with open_stage(run) as frame:
        if "train" not in source.available_splits():
            raise DataError(f"dataset={source.name}: training images are required for stage=analyse. Add some.")
        frame.start_loggers()
        encoder, model = _encoder(run, source)
        splits, metrics = _analyse_splits(run, source, encoder)
        folder = run.folder / "figures"
        folder.mkdir(exist_ok=True)
        spectrum = _principal(run, splits["train"])
        flat = {name: spectrum.coordinates(split.features_ND, cfg.stage.components) for name, split in splits.items()}
        metrics |= _spread(splits, flat, spectrum)
        drawn, maps = maps_pictures(cfg, splits, flat, folder)
        pictures = [pca_picture(spectrum.shares, splits, flat, folder), *drawn]
        if "test" in splits:
            pictures.append(neighbours_sheet(cfg, source, splits, folder))
        if model is not None:
            pictures += cam_sheet(run, source, model, splits, folder)
        shares = [round(float(share), 6) for share in spectrum.shares[: cfg.stage.components]]
        frame.finish(
            Outcome(
                title=f"Analysis of {source.name}",
                rows=_summary_rows(metrics, splits),
                metrics=metrics,
                tables={"explained_variance": shares},
                facts={"protocol": PROTOCOL},
                pictures=pictures,
                tables_written=_exported(run.folder, source, splits, flat, maps),
            )
        )


def _encoder(run: Run[Config[Analyse]], source: Source) -> tuple[Encoder, SavedModel | None]:
    """The encoder to analyse, and its classifier if there is one."""
    if run.init.kind != "model" or run.init.run is None:
        check_channels(run.cfg, source)
        encoder, weights = build_encoder(run)
        print(f"Encoder: {weights}", flush=True)
        return encoder, None
    model = load_model_of(run)
    check_channels_of(model.encoder, source.channels, f"dataset={source.name}")
    print(f"Encoder: from the {model.stage} run {shown_path(run.init.run)}", flush=True)
    if source.task is None:
        print("Grad-CAM: left out: it compares predictions with labels, and there are none.", flush=True)
        return model.encoder, None
    for note in check_classes(model, source.classes, source.task, source.name):
        print(note, flush=True)
    return model.encoder, model


def _analyse_splits(
    run: Run[Config[Analyse]], source: Source, encoder: Encoder
) -> tuple[dict[Split, AnalysedSplit], dict[str, float]]:
    """Return the chosen images of train and test with their features, and the metrics of the features."""
    cfg = run.cfg
    features, where = reader_of(encoder, run, source), resolve_device(cfg.trainer.accelerator)
    view = OneView(build_sequence(cfg, source))
    splits: dict[Split, AnalysedSplit] = {}
    found: dict[str, float] = {}
    whole: dict[Split, tuple[Tensor, np.ndarray | None]] = {}
    for split in [split for split in source.available_splits() if split != "val"]:
        images = source.split(split)
        kept = np.arange(len(images))
        if split == "train":
            kept, notes = select_subset(
                images.labels, len(images), **fraction_arguments(cfg, source), classes=len(source.classes)
            )
            for note in notes:
                print(note, flush=True)
        rows = kept[points(len(kept), cfg.stage.points, cfg.seed)]
        all_ND = features(split)
        whole[split] = all_ND[torch.from_numpy(kept)], None if images.labels is None else images.labels[kept]
        labels_NL = None if images.labels is None else images.labels[rows]
        chosen_NHWC = np.ascontiguousarray(images.images[rows])
        some_ND = all_ND[torch.from_numpy(rows)]
        splits[split] = AnalysedSplit(rows, chosen_NHWC, some_ND.numpy(), labels_NL, groups(labels_NL, source.classes))
        one, two = (_features_of_views(encoder, chosen_NHWC, view, (cfg.seed, 0, step), where) for step in range(2))
        found |= {
            f"{split}/points": len(rows),
            f"{split}/alignment": float(alignment(one, two)),
            f"{split}/uniformity": float(uniformity(some_ND)),
            f"{split}/effective_rank": float(effective_rank(some_ND)),
            f"{split}/feature_std": float(feature_std(some_ND)),
        }
    if "test" in whole and source.task is not None:
        (bank_ND, known_NL), (queries_ND, labels_NL) = whole["train"], whole["test"]
        if known_NL is not None and labels_NL is not None:
            near = knn_scores(
                queries_ND, bank_ND, one_hot_targets(known_NL, len(source.classes)), **cfg.stage.knn.to_dict()
            ).numpy()
            found["test/knn_accuracy"] = classification.accuracy(source.task, labels_NL, near)
            found["test/knn_auroc"] = classification.auroc(source.task, labels_NL, near)
    return splits, {name: value for name, value in found.items() if not math.isnan(value)}


def _features_of_views(
    encoder: Encoder, images_NHWC: np.ndarray, view: OneView, key: tuple[int, int, int], where: torch.device
) -> Tensor:
    """Features of one augmented view of each image; batch b draws from the key's step 2b or 2b + 1."""
    seed, epoch, step = key
    batch = iter(range(len(images_NHWC)))

    def augmented(images_BHWC: Tensor) -> Tensor:
        count = len(images_BHWC)
        return view(images_BHWC, (seed, epoch, 2 * next(batch) + step), (0, count), count)

    return extract_features(encoder.to(where), images_NHWC, augmented, where)


def _principal(run: Run[Config[Analyse]], analysed: AnalysedSplit) -> projections.Principal:
    try:
        return projections.fit_pca(analysed.features_ND)
    except ValueError as error:
        raise RunError(
            f"init={run.cfg.init.name}: all training images have the same features; the encoder has collapsed. "
            "Choose another encoder."
        ) from error


def _spread(
    splits: dict[Split, AnalysedSplit], flat: dict[Split, np.ndarray], spectrum: projections.Principal
) -> dict[str, float]:
    """Measure how far the classes are apart, and how many directions the features span."""
    found = {
        "train/pca_variance_2": float(spectrum.shares[:2].sum()),
        "train/pca_components_90": int(np.searchsorted(np.cumsum(spectrum.shares), 0.9) + 1),
    }
    for split, analysed in splits.items():
        # An image with several labels belongs to no single group, and silhouette is defined for single groups.
        if analysed.labels_NL is not None and analysed.labels_NL.shape[1] == 1 and analysed.groups.codes_N is not None:
            found[f"{split}/silhouette"] = projections.silhouette(
                analysed.features_ND, analysed.groups.codes_N, "cosine"
            )
            found[f"{split}/silhouette_pca"] = projections.silhouette(
                flat[split][:, :2], analysed.groups.codes_N, "euclidean"
            )
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _exported(
    folder: Path,
    source: Source,
    splits: dict[Split, AnalysedSplit],
    flat: dict[Split, np.ndarray],
    maps: dict[Split, dict[str, np.ndarray]],
) -> list[Path]:
    """embeddings.npz, and embeddings.parquet where pyarrow is installed."""
    embedded = {
        split: Embedded(
            analysed.rows_N, analysed.features_ND, analysed.labels_NL, {"pca": flat[split][:, :2], **maps[split]}
        )
        for split, analysed in splits.items()
    }
    npz, parquet = folder / "embeddings.npz", folder / "embeddings.parquet"
    write_npz(embedded, source.classes, npz)
    if write_parquet(embedded, source.classes, parquet):
        return [npz, parquet]
    print("Parquet:  left out: pyarrow is not installed (pip install 'simclr-med[analyse]').", flush=True)
    return [npz]


def _summary_rows(found: dict[str, float], splits: dict[Split, AnalysedSplit]) -> dict[str, str]:
    rows = {"images": ", ".join(f"{len(analysed.rows_N):,} {split}" for split, analysed in splits.items())}
    for name in ("silhouette", "knn_accuracy", "effective_rank", "alignment", "uniformity"):
        values = {split: found[f"{split}/{name}"] for split in splits if f"{split}/{name}" in found}
        if values:
            text = ", ".join(f"{value:.3f} {split}" for split, value in values.items())
            rows[name.replace("_", " ").replace("knn", "kNN")] = text
    return rows
