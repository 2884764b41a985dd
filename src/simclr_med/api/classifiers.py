"""Classifiers in Python: load one from a run, or fit a linear probe on an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from simclr_med import build
from simclr_med.api.datasets import Data
from simclr_med.api.encoders import as_encoder, choose_device, extract_features
from simclr_med.api.images import Images, as_uint8, transform
from simclr_med.augment.sequence import to_float
from simclr_med.config.options import load_option
from simclr_med.data.subsets import select_subset
from simclr_med.evaluation import predict
from simclr_med.evaluation.logistic_path import Labelled
from simclr_med.metrics import classification, intervals
from simclr_med.stages.saved_model import load_saved_model
from simclr_med.stages.scoring import load_labels, require_labels
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class Classifier:
    """An encoder with a classifier head, in the manner of scikit-learn.

    Attributes:
        encoder: of the classifier.
        head: features [N, D] to logits [N, K].
        task: medmnist's name of the kind of labels.
        classes_: names of the K classes.
    """

    encoder: Any
    head: nn.Module
    task: Task
    classes_: np.ndarray

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return the probability of each class, float32 [N, K].

        Rows sum to 1, except for multi-label data, where each class has a probability of its own.

        Args:
            images: as in `extract_features`.
        """
        device = next(self.encoder.parameters()).device
        return predict.predict_proba(self.encoder, self.head, self.task, as_uint8(images), to_float, device)

    def predict(self, images: Images) -> np.ndarray:
        """Return the name of the most probable class of each image; of multi-label data 0 or 1 for each class.

        Args:
            images: as in `extract_features`.
        """
        chosen = classification.y_pred(self.task, self.predict_proba(images))
        return np.asarray(chosen) if self.task == MULTI_LABEL else self.classes_[np.asarray(chosen).reshape(-1)]


@dataclass(frozen=True)
class ProbeResult:
    """A linear probe and its scores.

    Attributes:
        classifier: the encoder with the fitted linear layer.
        scores: on the test split, by name: ``accuracy``, ``auroc``, ...
        intervals: 95 % interval of accuracy and AUROC over test images.
        labels: number of labels that the probe was fitted to.
    """

    classifier: Classifier
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    labels: int


def load_classifier(run: str | PathLike[str], device: str | None = None) -> Classifier:
    """Load the classifier of a finished run of probe, finetune, baseline or distill.

    Args:
        run: folder of the run. ``simclr-med runs best`` names one.
        device: as in `load_encoder`.

    Raises:
        UserError: the folder holds no finished run with a classifier, or its files have changed.

    Examples:
        >>> import simclr_med as sm
        >>> classifier = sm.load_classifier(probe_run)
        >>> images = sm.load_data("synthetic").test[0]
        >>> classifier.predict_proba(images[:4]).shape
        (4, 8)
        >>> classifier.predict(images[:1])[0] in classifier.classes_
        True
    """
    model = load_saved_model(Path(run).expanduser())
    return _classifier(model.encoder, model.head.module, model.head.task, model.head.classes, device)


def probe(
    encoder: nn.Module | str | PathLike[str], data: Data, labels: int | None = None, seed: int = 0
) -> ProbeResult:
    """Fit a linear probe on an encoder's features, and score it on the test split.

    It is what ``stage=probe`` does: logistic regression whose strength is chosen on the validation split, or with a
    label budget by cross-validation inside it. Nothing is written.

    Args:
        encoder: as in `extract_features`.
        data: of `load_data`, with labels.
        labels: label budget: this many images, each class with its share; None takes all.
        seed: of the choice of these images.

    Raises:
        UserError: the data lack labels, or have fewer images than the budget.

    Examples:
        >>> import simclr_med as sm
        >>> found = sm.probe(run, sm.load_data("synthetic"), labels=50)
        >>> found.labels, 0 < found.scores["auroc"] < 1
        (50, True)
    """
    network, source = as_encoder(encoder), data.source
    task = require_labels(source, "probe", ("train", "test") if labels is not None else ("train", "val", "test"))
    train_NL = load_labels(source, "train", "probe")
    count = len(source.classes)
    rows, _ = select_subset(train_NL, len(train_NL), samples=labels, seed=seed, classes=count)
    train = Labelled(extract_features(network, source.split("train").images[rows]), train_NL[rows])
    val = None
    if labels is None:
        val = Labelled(extract_features(network, source.split("val").images), load_labels(source, "val", "probe"))
    solver = load_option((), "stage", "probe").solvers.logistic
    fitted = build.instantiate_node(solver, train=train, val=val, task=task, classes=count, seed=seed)
    classifier = _classifier(network, fitted.layer(), task, source.classes, None)
    test_NL = load_labels(source, "test", "probe")
    found = classifier.predict_proba(source.split("test").images)
    return ProbeResult(
        classifier,
        classification.compute_scores(task, test_NL, found),
        intervals.compute_test_intervals(task, test_NL, found, resamples=0, seed=0),
        len(rows),
    )


def _classifier(encoder: Any, head: nn.Module, task: Task, classes: Any, device: str | None) -> Classifier:
    place = next(encoder.parameters()).device if hasattr(encoder, "transform") else choose_device(device)
    encoder.transform = transform
    return Classifier(encoder.to(place).eval(), head.to(place).eval(), task, np.asarray(classes))
