"""The classifier as a Lightning module: loss, validation scores, class weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from simclr_med.augment.sequence import to_float
from simclr_med.metrics import classification
from simclr_med.models.encoders import tiny
from simclr_med.models.heads import linear_head
from simclr_med.models.optimizers import build_layerwise_optimizer, sgd
from simclr_med.training.classifier import METRICS, Classifier, balanced_weights
from simclr_med.types import Batch

MULTI = "multi-label, binary-class"
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (24, 12, 12, 3), dtype=np.uint8)
LABELS = {"multi-class": np.arange(24)[:, None] % 3, MULTI: GENERATOR.integers(0, 2, (24, 3))}


@dataclass
class Part:
    images: np.ndarray
    labels: np.ndarray | None


class Data:
    def __init__(self, task: str) -> None:
        self.val = Part(IMAGES, LABELS[task])


class Plain(nn.Module):
    """No augmentation."""

    def forward(self, images: Any, key: Any, rows: Any, size: Any) -> Any:
        return to_float(images)


def build_classifier(
    task: Any = "multi-class", weights: torch.Tensor | None = None, decay: float = 1.0, **options: Any
) -> Classifier:
    torch.manual_seed(0)
    make = partial(sgd, lr=0.1, momentum=0.0, weight_decay=0.0, decay_norm_and_bias=False)
    encoder = tiny()
    return Classifier(
        *(encoder, linear_head(64, 3), Plain(), to_float, task),
        optimizer=partial(build_layerwise_optimizer, make, decay=decay, groups=encoder.layer_groups(), split=True),
        schedule=lambda: lambda step: 0.5**step,
        class_weight_K=weights,
        validation=Data(task),
        **options,
    )


def batch(task: str) -> Batch:
    images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS[task].astype(np.int64))
    return Batch(images, labels, torch.arange(24), (0, 0, 0), (0, 24), 24)


@pytest.mark.parametrize("task", LABELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_equals_torch_with_class_weights(task: str, weighted: bool) -> None:
    weights = torch.tensor([0.5, 3.0, 1.0]) if weighted else None
    module = build_classifier(task, weights)
    found = module.training_step(batch(task), 0)
    torch.manual_seed(0)
    encoder, head = tiny(), linear_head(64, 3)
    logits = head(encoder(to_float(torch.from_numpy(IMAGES))))
    labels = torch.from_numpy(LABELS[task])
    if task == MULTI:
        expected = nn.BCEWithLogitsLoss(pos_weight=weights)(logits, labels.float())
    else:
        expected = nn.CrossEntropyLoss(weight=weights)(logits, labels[:, 0])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("task", LABELS)
def test_validate_scores_in_eval_mode_and_changes_nothing(task: Any) -> None:
    module = build_classifier(task)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = module.validate()
    assert module.encoder.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    module.eval()
    with torch.no_grad():
        logits = module.head(module.encoder(to_float(torch.from_numpy(IMAGES)))).double()
    p = (logits.sigmoid() if task == MULTI else logits.softmax(dim=1)).numpy()
    scores = classification.compute_scores(task, LABELS[task], p)
    assert found == {
        "val/loss": pytest.approx(scores["nll"], abs=1e-5),
        **{f"val/{name}": pytest.approx(scores[name]) for name in ("accuracy", "auroc", "balanced_accuracy")},
    }
    assert set(found) < set(METRICS)


def test_checkpoint_holds_only_encoder_and_head() -> None:
    """Readers of a checkpoint rely on it; class weights come from the data."""
    module = build_classifier(weights=torch.ones(3))
    assert {name.split(".")[0] for name in module.state_dict()} == {"encoder", "head"}
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint == {"encoder_metadata": {"mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}}


def test_every_weight_is_trained_and_the_rate_falls_with_depth() -> None:
    module = build_classifier(decay=0.5)
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    names = {parameter: name for name, parameter in module.named_parameters()}
    rates = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(rates) == set(names.values())
    assert rates["head.bias"] == pytest.approx(0.1)
    assert rates["encoder.conv1.weight"] == pytest.approx(0.1 / 32)
    optimizer.step()
    scheduler.step()
    after = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert after == {name: pytest.approx(rate / 2) for name, rate in rates.items()}


def test_balanced_weights_equal_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [2, 7, 15])[:, None]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[:, 0])
    assert balanced_weights("multi-class", labels, 3).tolist() == pytest.approx(expected.tolist())
    assert balanced_weights("multi-class", labels[:2], 3).tolist() == [1, 0, 0]
    absent = balanced_weights("multi-class", labels[labels[:, 0] != 1], 3)
    assert absent.tolist() == pytest.approx([17 / (2 * 2), 0, 17 / (2 * 15)])
    assert absent.dtype == torch.float32


def test_balanced_weights_of_a_multi_label_set() -> None:
    """Positives and negatives of each label have the same total weight; a label with only one of them keeps 1."""
    labels = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]])
    assert balanced_weights(MULTI, labels, 4).tolist() == pytest.approx([3, 1, 1, 1 / 3])


def train_steps(module: Classifier, steps: int, steps_per_epoch: int = 1) -> list[dict[str, torch.Tensor]]:
    """Train some steps on the batch of `batch` as Lightning does; return the state dict after each."""
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    module.trainer = SimpleNamespace(is_last_batch=False)  # type: ignore[assignment]
    states = []
    for step in range(steps):
        one = batch("multi-class")._replace(key=(0, step // steps_per_epoch, step % steps_per_epoch))
        optimizer.zero_grad()
        module.training_step(one, step).backward()
        optimizer.step()
        scheduler.step()
        module.on_train_batch_end(None, one, step)
        states.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
    return states


def test_head_trains_first_on_the_features_of_the_frozen_encoder() -> None:
    module = build_classifier(head_epochs=2, steps_per_epoch=2)
    module.encoder.eval()
    frozen = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        features = module.encoder(to_float(torch.from_numpy(IMAGES)))
        expected = float(
            nn.functional.cross_entropy(module.head(features), torch.from_numpy(LABELS["multi-class"])[:, 0])
        )
    module.encoder.train()
    assert float(module.training_step(batch("multi-class"), 0).detach()) == pytest.approx(expected)
    states = train_steps(module, 6, steps_per_epoch=2)
    for state in states[:4]:
        assert all(torch.equal(state[name], frozen[name]) for name in frozen if name.startswith("encoder."))
        assert not torch.equal(state["head.weight"], frozen["head.weight"])
    assert not torch.equal(states[4]["encoder.conv1.weight"], frozen["encoder.conv1.weight"])
    assert int(states[5]["encoder.bn1.num_batches_tracked"]) == 2


def test_averaged_weights_are_those_of_the_formula_and_are_validated() -> None:
    module = build_classifier(ema_decay=0.75)
    states = train_steps(module, 3)
    for name in ("encoder.conv1.weight", "encoder.bn1.running_mean", "head.bias"):
        first, second, third = (state[name] for state in states)
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        torch.testing.assert_close(states[2][f"averaged.module.{name}"], expected)
        assert not torch.equal(expected, third)
    trained = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert not trained & {id(p) for p in module.averaged.parameters()}  # type: ignore[union-attr]
    encoder, head = module.kept()
    plain = build_classifier()
    plain.encoder.load_state_dict(encoder.state_dict())
    plain.head.load_state_dict(head.state_dict())
    assert module.validate() == plain.validate()
    assert module.validate() != train_and_validate(build_classifier(), 3)


def train_and_validate(module: Classifier, steps: int) -> dict[str, float]:
    train_steps(module, steps)
    return module.validate()


@pytest.mark.parametrize("limit", [None, 1e-3, 1e6])
def test_a_gradient_is_scaled_down_to_the_limit(limit: float | None) -> None:
    module = build_classifier()
    module.training_step(batch("multi-class"), 0).backward()
    module.on_before_optimizer_step(module.configure_optimizers()["optimizer"])
    before = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(before)
    module.configure_gradient_clipping(None, limit)
    after = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    factor = 1.0 if limit is None else min(1.0, limit / (float(norm) + 1e-6))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one * factor)
