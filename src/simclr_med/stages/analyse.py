"""Stage analyse: what the features of an encoder look like, and how well they tell the classes apart, untrained."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simclr_med import build
from simclr_med.augment.sequence import OneView
from simclr_med.data.datamodule import one_hot_targets
from simclr_med.data.source import Source
from simclr_med.data.subsets import select_subset
from simclr_med.errors import DataError, RunError
from simclr_med.evaluation import projections
from simclr_med.evaluation.embedding_files import Embedded, write_npz, write_parquet
from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_scores
from simclr_med.evaluation.representation import alignment, effective_rank, feature_std, uniformity
from simclr_med.metrics import classification
from simclr_med.models.encoders import ResNetEncoder
from simclr_med.runs.run import Run
from simclr_med.stages.analyse_figures import AnalysedSplit, cam_sheet, maps_pictures, neighbours_sheet, pca_picture
from simclr_med.stages.probe import reader_of
from simclr_med.stages.sampling import groups, points
from simclr_med.stages.saved_model import SavedModel, check_classes, load_saved_model
from simclr_med.stages.setup import build_encoder, build_loggers, collect_provenance, fraction_arguments
from simclr_med.stages.summary import print_summary
from simclr_med.tracking.loggers import close_loggers, log_pictures
from simclr_med.training.devices import resolve_device
from simclr_med.types import Split

PROTOCOL = "features from images without augmentation; the PCA is fitted on training images, nothing on test images"


def analyse(run: Run, source: Source) -> None:
    """Measure the features of some training and test images, draw them, and keep them for other programs."""
    cfg, began = run.cfg, time.monotonic()
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    if "train" not in source.present():
        raise DataError(f"dataset={source.name}: must have train images, which every map is made of. Add some.")
    logs = build_loggers(run)
    done = False
    try:
        encoder, model = _encoder(run, source)
        looks, found = _looked_at(run, source, encoder)
        folder = run.folder / "figures"
        folder.mkdir(exist_ok=True)
        spectrum = _principal(run, looks["train"])
        flat = {split: spectrum.coordinates(look.features_ND, cfg.stage.components) for split, look in looks.items()}
        found |= _spread(looks, flat, spectrum)
        drawn, placed = maps_pictures(cfg, looks, flat, folder)
        pictures = [pca_picture(spectrum.shares, looks, flat, folder), *drawn]
        if "test" in looks:
            pictures.append(neighbours_sheet(cfg, source, looks, folder))
        if model is not None:
            pictures += cam_sheet(run, source, model, looks, folder)
        tables = _exported(run.folder, source, looks, flat, placed)
        log_pictures(logs, pictures)
        for log in logs:
            log.log_metrics(found)
        wall_s = round(time.monotonic() - began, 3)
        shares = [round(float(share), 6) for share in spectrum.shares[: cfg.stage.components]]
        facts = {**collect_provenance(run), "protocol": PROTOCOL}
        run.finish(found, {"wall_s": wall_s}, facts, tables={"explained_variance": shares})
        done = True
    finally:
        close_loggers(logs, failed=not done)
    print_summary(f"Analysis on {source.name}", _told(found, looks, wall_s), run.folder, pictures)
    for table in tables:
        print(f"Table:    {table}")


def _encoder(run: Run, source: Source) -> tuple[ResNetEncoder, SavedModel | None]:
    """The encoder to look at, and the classifier on it where there is one."""
    if run.init.kind != "model" or run.init.run is None:
        encoder, origin = build_encoder(run)
        print(f"Encoder: {origin}", flush=True)
        return encoder, None
    model = load_saved_model(run.init.run)
    print(f"Encoder: of the {model.stage} run {run.init.run}", flush=True)
    if source.task is None:
        print("Grad-CAM: left out, for it compares answers with labels, and there are none.", flush=True)
        return model.encoder, None
    for note in check_classes(model, source.classes, source.task, source.name):
        print(note, flush=True)
    return model.encoder, model


def _looked_at(run: Run, source: Source, encoder: ResNetEncoder) -> tuple[dict[Split, AnalysedSplit], dict[str, float]]:
    """The chosen images of train and test with their features, and what is measured on them before any map."""
    cfg = run.cfg
    features, where = reader_of(encoder, run, source), resolve_device(cfg.trainer.accelerator)
    view = OneView(build.instantiate_node(cfg.augmentation))
    looks: dict[Split, AnalysedSplit] = {}
    found: dict[str, float] = {}
    whole: dict[Split, tuple[Tensor, np.ndarray | None]] = {}
    for split in [split for split in source.present() if split != "val"]:
        images = source.split(split)
        kept = np.arange(len(images))
        if split == "train":
            kept, notes = select_subset(
                images.labels, len(images), **fraction_arguments(cfg), classes=len(source.classes)
            )
            for note in notes:
                print(note, flush=True)
        rows = kept[points(len(kept), cfg.stage.points, cfg.seed)]
        all_ND = features(split)
        whole[split] = all_ND[torch.from_numpy(kept)], None if images.labels is None else images.labels[kept]
        labels_NL = None if images.labels is None else images.labels[rows]
        chosen_NHWC = np.ascontiguousarray(images.images[rows])
        some_ND = all_ND[torch.from_numpy(rows)]
        looks[split] = AnalysedSplit(rows, chosen_NHWC, some_ND.numpy(), labels_NL, groups(labels_NL, source.classes))
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
                queries_ND, bank_ND, one_hot_targets(known_NL, len(source.classes)), **cfg.stage.knn
            ).numpy()
            found["test/knn_accuracy"] = classification.accuracy(source.task, labels_NL, near)
            found["test/knn_auroc"] = classification.auroc(source.task, labels_NL, near)
    return looks, {name: value for name, value in found.items() if not math.isnan(value)}


def _features_of_views(
    encoder: ResNetEncoder, images_NHWC: np.ndarray, view: OneView, key: tuple[int, int, int], where: torch.device
) -> Tensor:
    """Features of one augmented view of each image; batch b draws from the key's step 2b or 2b + 1."""
    seed, epoch, step = key
    batch = iter(range(len(images_NHWC)))

    def augmented(images_BHWC: Tensor) -> Tensor:
        count = len(images_BHWC)
        return view(images_BHWC, (seed, epoch, 2 * next(batch) + step), (0, count), count)

    return extract_features(encoder.to(where), images_NHWC, augmented, where)


def _principal(run: Run, look: AnalysedSplit) -> projections.Principal:
    try:
        return projections.fit_pca(look.features_ND)
    except ValueError as error:
        raise RunError(
            f"init={run.cfg.init.name}: must give features that differ; those of all training images are the same, as "
            "of an encoder that collapsed. Choose another encoder."
        ) from error


def _spread(
    looks: dict[Split, AnalysedSplit], flat: dict[Split, np.ndarray], spectrum: projections.Principal
) -> dict[str, float]:
    """How far the classes lie apart, and how many directions the features take."""
    found = {
        "train/pca_variance_2": float(spectrum.shares[:2].sum()),
        "train/pca_components_90": int(np.searchsorted(np.cumsum(spectrum.shares), 0.9) + 1),
    }
    for split, look in looks.items():
        # Of several labels an image there is no one group; nor is silhouette what many labels apart would mean.
        if look.labels_NL is not None and look.labels_NL.shape[1] == 1 and look.groups.codes_N is not None:
            found[f"{split}/silhouette"] = projections.silhouette(look.features_ND, look.groups.codes_N, "cosine")
            found[f"{split}/silhouette_pca"] = projections.silhouette(
                flat[split][:, :2], look.groups.codes_N, "euclidean"
            )
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _exported(
    folder: Path,
    source: Source,
    looks: dict[Split, AnalysedSplit],
    flat: dict[Split, np.ndarray],
    placed: dict[Split, dict[str, np.ndarray]],
) -> list[Path]:
    """embeddings.npz, and embeddings.parquet where pyarrow is installed."""
    splits = {
        split: Embedded(look.rows_N, look.features_ND, look.labels_NL, {"pca": flat[split][:, :2], **placed[split]})
        for split, look in looks.items()
    }
    npz, parquet = folder / "embeddings.npz", folder / "embeddings.parquet"
    write_npz(splits, source.classes, npz)
    if write_parquet(splits, source.classes, parquet):
        return [npz, parquet]
    print("Parquet:  left out, for pyarrow is not installed (pip install 'simclr-med[analyse]').", flush=True)
    return [npz]


def _told(found: dict[str, float], looks: dict[Split, AnalysedSplit], wall_s: float) -> dict[str, str]:
    rows = {"images": ", ".join(f"{len(look.rows_N):,} {split}" for split, look in looks.items())}
    for name in ("silhouette", "knn_accuracy", "effective_rank", "alignment", "uniformity"):
        values = {split: found[f"{split}/{name}"] for split in looks if f"{split}/{name}" in found}
        if values:
            told = ", ".join(f"{value:.3f} {split}" for split, value in values.items())
            rows[name.replace("_", " ").replace("knn", "kNN")] = told
    return rows | {"time": f"{wall_s:.1f} s"}
