"""Probabilities of logits, features and images; the model's mode is restored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simclr_med.augment.sequence import to_float
from simclr_med.evaluation.predict import classify_features, logits_to_probabilities, predict_proba
from simclr_med.models.encoders import tiny

MULTI = "multi-label, binary-class"


@pytest.mark.parametrize("task", ["multi-class", "binary-class", "ordinal-regression", MULTI])
def test_probabilities_of_logits(task) -> None:
    logits = np.array([[0.0, 1.0, -2.0], [800.0, 0.0, -800.0]])
    found = logits_to_probabilities(task, logits)
    assert found.dtype == np.float32
    with np.errstate(over="ignore"):
        one_by_one = 1 / (1 + np.exp(-logits))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = one_by_one if task == MULTI else shifted / shifted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_class_at_minus_infinity_has_no_probability() -> None:
    found = logits_to_probabilities("multi-class", np.array([[1.0, -np.inf, 1.0]]))
    assert found.tolist() == [[0.5, 0.0, 0.5]]
    assert logits_to_probabilities(MULTI, np.array([[np.inf, -np.inf]])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("training", [True, False])
def test_a_head_runs_in_eval_mode_and_its_own_dtype_and_its_mode_is_restored(training: bool) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().train(training)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    features = torch.randn(5, 4)
    together = classify_features(head, "multi-class", features)
    alone = np.concatenate([classify_features(head, "multi-class", row) for row in features.split(1)])
    np.testing.assert_array_equal(together, alone)  # batch statistics would differ
    assert head.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())


def test_predict_proba_equals_encoder_and_head() -> None:
    torch.manual_seed(0)
    encoder, head = tiny(), nn.Linear(64, 3)
    images = np.random.default_rng(0).integers(0, 256, (300, 12, 12, 1), dtype=np.uint8)
    found = predict_proba(encoder, head, "multi-class", images, to_float, torch.device("cpu"))
    assert encoder.training
    encoder.eval()
    with torch.no_grad():
        three = torch.from_numpy(images).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1) / 255
        expected = head(encoder(three)).softmax(dim=1).numpy()
    assert found.shape == (300, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
