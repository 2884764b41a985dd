"""How well scores of a classifier detect the images of other data sets (out-of-distribution detection)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simclr_med.augment.sequence import to_float
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Test
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.novelty import energy, mahalanobis, neighbour_distance
from simclr_med.evaluation.predict import compute_logits
from simclr_med.metrics.image_values import compute_image_auroc
from simclr_med.metrics.intervals import interval_of_auroc
from simclr_med.stages.other_data import match_shape, open_other, read_foreign_images
from simclr_med.stages.saved_model import SavedModel
from simclr_med.types import MULTI_LABEL

METRICS = ("ood_mahalanobis", "ood_knn", "ood_energy")
MOST_TRAINING = 20_000  # training images that the distances are measured to; they are evenly spaced in the split


@dataclass(frozen=True)
class ForeignScores:
    """What `score_foreign_images` finds.

    Attributes:
        metrics: AUROC by ``test/<score>/<data set>``, with the scores of `METRICS`.
        intervals: of these, over test images.
        hashes: content hash of each other data set.
        notes: sentences about images that were resized or lost their colours.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    hashes: dict[str, str]
    notes: list[str]

    def summary_rows(self) -> dict[str, str]:
        """Return a row of the summary for each other data set."""
        titles = dict(zip(METRICS, ("Mahalanobis", "kNN", "energy"), strict=True))
        return {
            f"AUROC against {name}": "  ".join(
                f"{title} {self.metrics[f'test/{score}/{name}']:.3f}" for score, title in titles.items()
            )
            for name in self.hashes
        }


def open_foreign(cfg: Config[Test], source: Source) -> dict[str, Source]:
    """Return the data sets of stage.ood by name, before anything is scored.

    Raises:
        DataError, ConfigError: as in `open_other`, or the run's data set has no training images to compare with.
    """
    others = [open_other(name, cfg, source.size) for name in cfg.stage.ood]
    for other in others:
        other.available_splits()  # a missing file is reported now
    if others and "train" not in source.available_splits():
        raise DataError(
            f"dataset={source.name}: training images are required for stage.ood. Choose the model's own data set."
        )
    return {other.name: other for other in others}


def score_foreign_images(
    cfg: Config[Test], model: SavedModel, source: Source, others: Mapping[str, Source], device: torch.device
) -> ForeignScores:
    """Return how well three scores separate the images of other data sets from the run's test images (AUROC).

    The classes of training images that Mahalanobis distances need are those that the model predicts, so that no label
    outside its budget is used; all images of a multi-label set are one class.

    Args:
        cfg: of the run.
        model: the classifier, on device.
        source: the run's data set.
        others: of `open_foreign`.
        device: of the model.
    """

    def extract(images_NHWC: np.ndarray) -> Tensor:
        return extract_features(model.encoder, images_NHWC, to_float, device)

    train = source.split("train").images
    rows = np.linspace(0, len(train) - 1, min(len(train), MOST_TRAINING)).round().astype(np.int64)
    own = source.split("test").images
    measure = _build_scores(model, extract(train[rows]), cfg.stage.ood_neighbours)
    own_scores = measure(extract(own))
    found = ForeignScores({}, {}, {}, [])
    for name, other in others.items():
        images = read_foreign_images(other).images
        foreign = match_shape(images, *own.shape[1:])
        if foreign.shape[1:] != images.shape[1:]:
            shapes = [" x ".join(map(str, each.shape[1:])) for each in (images, foreign)]
            found.notes.append(f"stage.ood={name}: its images ({shapes[0]}) were converted to {shapes[1]}.")
        truth = np.concatenate([np.zeros(len(own), np.int64), np.ones(len(foreign), np.int64)])[:, None]
        for score, values in measure(extract(foreign)).items():
            both = np.concatenate([own_scores[score], values])[:, None]
            each_image = compute_image_auroc("binary-class", truth, both)
            found.metrics[f"test/{score}/{name}"] = float(each_image.mean())
            found.intervals[f"test/{score}/{name}"] = interval_of_auroc(each_image)
        found.hashes[name] = other.content_hash()
    return found


def _build_scores(model: SavedModel, bank_ND: Tensor, neighbours: int) -> Callable[[Tensor], dict[str, np.ndarray]]:
    """Return the function that gives each image's scores, by the names of `METRICS`."""
    task, head = model.head.task, model.head.module
    logits_NK = compute_logits(head, bank_ND)
    classes_N = np.zeros(len(bank_ND), np.int64) if task == MULTI_LABEL else logits_NK.argmax(1).cpu().numpy()

    def measure(features_MD: Tensor) -> dict[str, np.ndarray]:
        values = (
            mahalanobis(bank_ND, classes_N, features_MD),
            neighbour_distance(bank_ND, features_MD, neighbours),
            energy(task, compute_logits(head, features_MD)),
        )
        return dict(zip(METRICS, values, strict=True))

    return measure
