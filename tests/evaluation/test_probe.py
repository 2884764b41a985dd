"""The linear probe's solvers against scikit-learn's L-BFGS and plain torch, and the choice of lambda."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from simclr_med.errors import RunError
from simclr_med.evaluation import probe as probe_module
from simclr_med.evaluation.logistic_path import Labelled
from simclr_med.evaluation.predict import logits_to_probabilities
from simclr_med.evaluation.probe import FittedProbe, logistic, sgd
from simclr_med.evaluation.strength_choice import WORSE
from simclr_med.metrics import classification
from simclr_med.runs.job_cache import JobCache

EXACT: dict[str, Any] = {
    **{"seed": 0, "lowest": 1e-3, "highest": 1e1, "points": 5, "select_by": "nll"},
    **{"max_iterations": 100, "tolerance": 1e-8},
}
GRID = np.geomspace(1e1, 1e-3, 5)
THESIS: dict[str, Any] = {
    **{"seed": 3, "lr": 0.05, "weight_decay": 0.01, "epochs": 10, "batch_size": 4},
    **{"milestones": [0.6, 0.8], "gamma": 0.1},
}


def drawn(images: int, width: int, classes: int, seed: int, noise: float = 2.0) -> Labelled:
    """Features far from centred and of very different scales, whose classes overlap."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    plain = centres[labels] + noise * generator.normal(size=(images, width))
    features = plain * np.geomspace(0.01, 30, width) + np.linspace(-5, 50, width)
    return Labelled(features.astype(np.float32), labels[:, None].astype(np.int64))


def logits(fitted: FittedProbe, features_ND: np.ndarray) -> np.ndarray:
    return features_ND.astype(np.float64) @ fitted.weight_KD.T + fitted.bias_K


def directly(train: Labelled, strength: float, column: int = 0) -> tuple[StandardScaler, LogisticRegression]:
    """Fit by scikit-learn alone, which minimises C x sum of losses + |w|^2 / 2."""
    scaler = StandardScaler().fit(train.features_ND.astype(np.float64))
    model = LogisticRegression(C=1 / (strength * len(train.features_ND)), max_iter=10_000, tol=1e-9)
    model.fit(scaler.transform(train.features_ND.astype(np.float64)), train.labels_NL[:, column])
    return scaler, model


def by_sklearn(train: Labelled, strength: float, features_ND: np.ndarray, column: int = 0) -> np.ndarray:
    scaler, model = directly(train, strength, column)
    return np.asarray(model.predict_proba(scaler.transform(features_ND.astype(np.float64))))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("images", [90, 20], ids=["more images than features", "fewer"])
def test_it_equals_scikit_learn_at_the_lambda_with_the_lowest_validation_loss(classes: int, images: int) -> None:
    train, val = drawn(images, 32, classes, seed=1), drawn(60, 32, classes, seed=2)
    task = "multi-class" if classes > 2 else "binary-class"
    fitted = logistic(train, val, task, classes, **EXACT)
    losses = [
        classification.nll(task, val.labels_NL, by_sklearn(train, strength, val.features_ND)) for strength in GRID
    ]
    assert fitted.stats["probe/lambda"] == GRID[int(np.argmin(losses))]
    assert 0 < int(np.argmin(losses)) < len(GRID) - 1, "the best lambda should lie inside the grid"
    expected = by_sklearn(train, fitted.stats["probe/lambda"], val.features_ND)
    np.testing.assert_allclose(logits_to_probabilities(task, logits(fitted, val.features_ND)), expected, atol=1e-5)


def test_fewer_images_than_features_give_scikit_learns_weights() -> None:
    train = drawn(20, 32, 3, seed=1)
    fitted = logistic(train, drawn(60, 32, 3, seed=2), "multi-class", 3, **EXACT)
    scaler, model = directly(train, fitted.stats["probe/lambda"])
    np.testing.assert_allclose(fitted.weight_KD * scaler.scale_, model.coef_, atol=1e-5)


def test_lambda_depends_on_validation_alone() -> None:
    train = drawn(60, 8, 3, seed=1)
    shuffled = Labelled(train.features_ND, np.roll(train.labels_NL, 1, axis=0))
    assert logistic(train, train, "multi-class", 3, **EXACT).stats["probe/lambda"] == GRID[-1]
    assert logistic(train, shuffled, "multi-class", 3, **EXACT).stats["probe/lambda"] == GRID[0]


@pytest.mark.parametrize("select_by", ["accuracy", "auroc"])
def test_ties_go_to_the_largest_lambda(select_by: str) -> None:
    apart = drawn(60, 8, 3, seed=1, noise=0.01)
    assert (
        logistic(apart, apart, "multi-class", 3, **{**EXACT, "select_by": select_by}).stats["probe/lambda"] == GRID[0]
    )


def test_an_undefined_validation_score_gives_the_largest_lambda() -> None:
    train = drawn(30, 8, 3, seed=1)
    one_class = Labelled(train.features_ND[::3], train.labels_NL[::3])
    fitted = logistic(train, one_class, "multi-class", 3, **{**EXACT, "select_by": "auroc"})
    assert fitted.stats["probe/lambda"] == GRID[0]


def test_multi_label_is_a_regression_for_each_label() -> None:
    generator = np.random.default_rng(0)
    one = drawn(60, 8, 2, seed=1)
    labels = np.concatenate([one.labels_NL, generator.integers(0, 2, (60, 1)), np.zeros((60, 1)), np.ones((60, 1))], 1)
    train = Labelled(one.features_ND, labels.astype(np.int64))
    fitted = logistic(train, train, "multi-label, binary-class", 4, **EXACT)
    found = logits_to_probabilities("multi-label, binary-class", logits(fitted, train.features_ND))
    for column in (0, 1):
        expected = by_sklearn(train, fitted.stats["probe/lambda"], train.features_ND, column)[:, 1]
        np.testing.assert_allclose(found[:, column], expected, atol=1e-5)
    assert np.all(found[:, 2] == 0)
    assert np.all(found[:, 3] == 1)


@pytest.mark.parametrize("present", [(0, 2, 3), (1, 3), (2,)], ids=["three of four", "two", "one"])
def test_a_class_without_training_images_gets_no_probability(present: tuple[int, ...]) -> None:
    everything, val = drawn(80, 8, 4, seed=1), drawn(40, 8, 4, seed=2)
    kept = np.isin(everything.labels_NL[:, 0], present)
    train = Labelled(everything.features_ND[kept], everything.labels_NL[kept])
    fitted = logistic(train, val, "multi-class", 4, **EXACT)
    found = logits_to_probabilities("multi-class", logits(fitted, val.features_ND))
    assert set(np.flatnonzero(found.sum(axis=0))) == set(present)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    if len(present) > 1:
        expected = by_sklearn(train, fitted.stats["probe/lambda"], val.features_ND)
        np.testing.assert_allclose(found[:, present], expected, atol=1e-5)


def test_a_constant_feature_changes_nothing() -> None:
    plain = drawn(60, 8, 3, seed=1)
    features = np.concatenate([plain.features_ND, np.full((60, 1), 7, np.float32)], axis=1)
    with_constant = logistic(
        Labelled(features, plain.labels_NL), Labelled(features, plain.labels_NL), "multi-class", 3, **EXACT
    )
    without = logistic(plain, plain, "multi-class", 3, **EXACT)
    assert np.isfinite(with_constant.weight_KD).all()
    np.testing.assert_allclose(logits(with_constant, features), logits(without, plain.features_ND), atol=1e-4)


def test_it_does_not_depend_on_the_seed() -> None:
    train, val = drawn(40, 8, 3, seed=1), drawn(40, 8, 3, seed=2)
    one, two = (logistic(train, val, "multi-class", 3, **{**EXACT, "seed": seed}) for seed in (0, 1))
    assert one.weight_KD.tobytes() == two.weight_KD.tobytes()


def test_runs_of_one_job_share_a_fit_of_the_same_data() -> None:
    train, val, cache = drawn(40, 8, 3, seed=1), drawn(40, 8, 3, seed=2), JobCache()
    one, two = (logistic(train, val, "multi-class", 3, **{**EXACT, "seed": seed}, cache=cache) for seed in (0, 1))
    assert one is two
    assert logistic(val, val, "multi-class", 3, **EXACT, cache=cache) is not one


def test_without_validation_images_cross_validation_chooses_and_the_whole_budget_is_fitted() -> None:
    """By hand: scikit-learn's folds, the loss of all images together, then a fit on all of them."""
    train, test = drawn(90, 32, 4, seed=1), drawn(40, 32, 4, seed=2)
    labels = train.labels_NL[:, 0]
    losses = []
    for strength in GRID:
        pooled = np.empty((90, 4))
        for kept, held_out in StratifiedKFold(5).split(labels, labels):
            part = Labelled(train.features_ND[kept], train.labels_NL[kept])
            pooled[held_out] = by_sklearn(part, strength, train.features_ND[held_out])
        losses.append(classification.nll("multi-class", train.labels_NL, pooled))
    fitted = logistic(train, None, "multi-class", 4, **EXACT)
    assert 0 < int(np.argmin(losses)) < len(GRID) - 1, "the best lambda should lie inside the grid"
    assert fitted.stats == {"probe/lambda": GRID[int(np.argmin(losses))], "probe/converged": 1, "probe/at_edge": 0}
    assert fitted.probabilities_MK is not None
    found = classification.nll("multi-class", train.labels_NL, fitted.probabilities_MK)
    assert found == pytest.approx(min(losses), abs=1e-6)
    expected = by_sklearn(train, fitted.stats["probe/lambda"], test.features_ND)
    np.testing.assert_allclose(
        logits_to_probabilities("multi-class", logits(fitted, test.features_ND)), expected, atol=1e-5
    )


@pytest.mark.parametrize("counts", [(2, 2), (1, 9, 9), (1, 3), (3, 0, 1)], ids=str)
def test_tiny_budgets_are_cross_validated_with_as_many_folds_as_the_largest_class_has_images(counts) -> None:
    train = drawn(sum(counts), 8, len(counts), seed=1)
    train = replace(train, labels_NL=np.repeat(np.arange(len(counts)), counts)[:, None])
    fitted = logistic(train, None, "multi-class", len(counts), **EXACT)
    assert fitted.probabilities_MK is not None
    np.testing.assert_allclose(fitted.probabilities_MK.sum(axis=1), 1, atol=1e-6)
    assert np.isfinite(fitted.weight_KD).all()


def test_one_image_of_each_class_leaves_nothing_to_choose_by_and_says_so() -> None:
    fitted = logistic(drawn(3, 8, 3, seed=1), None, "multi-class", 3, **EXACT)
    assert (fitted.stats["probe/lambda"], fitted.probabilities_MK) == (GRID[0], None)
    assert fitted.notes == (
        "The validation images do not compare the regularisation strengths (nll is undefined, or the same for all): "
        "the largest is used, lambda=10.",
    )


@pytest.mark.parametrize("columns", [2, 12], ids=["frequent combinations of labels", "each combination once"])
def test_a_multi_label_set_is_cross_validated(columns: int) -> None:
    one = drawn(60, 8, 2, seed=1, noise=0.5)
    others = np.random.default_rng(0).integers(0, 2, (60, columns - 1))
    train = Labelled(one.features_ND, np.concatenate([one.labels_NL, others], axis=1))
    fitted = logistic(train, None, "multi-label, binary-class", columns, **EXACT)
    assert fitted.probabilities_MK is not None
    each = classification.auroc_per_class("multi-label, binary-class", train.labels_NL, fitted.probabilities_MK)
    assert each[0] > 0.9
    assert abs(each[1:] - 0.5).max() < 0.35, "labels at random cannot be predicted by images that were not fitted"


def unconverged(monkeypatch: pytest.MonkeyPatch, wrong: set[int]) -> list[int]:
    """Make the fits of some places on the path count as not converged; return the places that were fitted."""
    fitted: list[int] = []
    fit_path = probe_module.fit_path

    def path(*given: Any, **options: Any) -> Iterator[Any]:
        for place, fit in enumerate(fit_path(*given, **options)):
            fitted.append(place)
            yield replace(fit, converged=place not in wrong)

    monkeypatch.setattr(probe_module, "fit_path", path)
    return fitted


def test_a_strength_whose_fit_did_not_converge_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    train = drawn(60, 8, 3, seed=1)  # its own validation, so that the smallest lambda is always the best
    unconverged(monkeypatch, {3, 4})
    fitted = logistic(train, train, "multi-class", 3, **EXACT)
    assert fitted.stats == {"probe/lambda": GRID[2], "probe/converged": 1, "probe/at_edge": 1}
    assert fitted.notes == (
        "stage.solvers.logistic.max_iterations=100: 2 of 5 regularisation strengths did not converge; they were not "
        "chosen. Raise it.",
    )


def test_where_no_fit_converged_the_result_says_so() -> None:
    train = drawn(60, 8, 3, seed=1)
    fitted = logistic(train, train, "multi-class", 3, **{**EXACT, "max_iterations": 1})
    assert fitted.stats["probe/converged"] == 0
    assert "5 of 5 regularisation strengths did not converge; the scores are those of one that did not" in str(
        fitted.notes
    )


def test_the_edges_of_the_grid_are_told() -> None:
    train = drawn(60, 8, 3, seed=1)
    shuffled = Labelled(train.features_ND, np.roll(train.labels_NL, 1, axis=0))
    low, high = (logistic(train, val, "multi-class", 3, **EXACT) for val in (train, shuffled))
    assert (low.stats["probe/at_edge"], high.stats["probe/at_edge"]) == (1, 1)
    assert low.notes[0].startswith("stage.solvers.logistic.lowest=0.001: the smallest regularisation strength has")
    assert high.notes[0].startswith("stage.solvers.logistic.highest=10: the largest regularisation strength has")


def test_the_path_ends_when_smaller_strengths_are_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    train = drawn(60, 8, 3, seed=1)
    shuffled = Labelled(train.features_ND, np.roll(train.labels_NL, 1, axis=0))
    fitted = unconverged(monkeypatch, set())
    logistic(train, shuffled, "multi-class", 3, **{**EXACT, "points": 9})
    assert fitted == list(range(1 + WORSE))


def test_a_probe_equals_one_of_a_finer_tolerance() -> None:
    train, val = drawn(50, 64, 3, seed=1), drawn(60, 64, 3, seed=2)
    one, two = (
        logistic(train, val, "multi-class", 3, **{**EXACT, "lowest": 1e-5, "points": 12, "tolerance": tolerance})
        for tolerance in (1e-6, 1e-8)
    )
    assert one.stats == two.stats
    found, finer = (logits_to_probabilities("multi-class", logits(fit, val.features_ND)) for fit in (one, two))
    np.testing.assert_allclose(found, finer, atol=1e-3)
    assert np.array_equal(found.argmax(axis=1), finer.argmax(axis=1))


def test_sgd_equals_the_thesis_loop() -> None:
    """AdamW on batches of at most 4, its rate a tenth after 6 and a hundredth after 8 of 10 epochs."""
    train = drawn(10, 8, 3, seed=1)
    fitted = sgd(train, None, "multi-class", 3, **THESIS)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(THESIS["seed"])
    layer = torch.nn.Linear(8, 3)
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -(8**-0.5), 8**-0.5, generator=generator)
    optimizer = torch.optim.AdamW(layer.parameters(), weight_decay=0.01)
    batches = []
    for factor in [1.0] * 6 + [0.1] * 2 + [0.01] * 2:
        optimizer.param_groups[0]["lr"] = 0.05 * factor
        for rows in torch.randperm(10, generator=generator).split(4):
            batches.append(len(rows))
            optimizer.zero_grad()
            features, labels = torch.from_numpy(train.features_ND)[rows], torch.from_numpy(train.labels_NL)[rows, 0]
            torch.nn.functional.cross_entropy(layer(features), labels).backward()
            optimizer.step()
    assert batches[:3] == [4, 4, 2]
    np.testing.assert_allclose(fitted.weight_KD, layer.weight.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(fitted.bias_K, layer.bias.detach().numpy(), atol=1e-6)


def test_sgd_that_diverges_is_one_line() -> None:
    with pytest.raises(
        RunError, match=r"stage\.solvers\.sgd\.lr=1e\+30: training diverged, the weights are not finite"
    ) as caught:
        sgd(drawn(10, 8, 3, seed=1), None, "multi-class", 3, **{**THESIS, "lr": 1e30})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_sgd_is_a_function_of_its_seed() -> None:
    train, found = drawn(10, 8, 3, seed=1), []
    for seed in (0, 0, 1):
        torch.rand(7)  # the global generator has no effect
        found.append(sgd(train, train, "multi-class", 3, **{**THESIS, "seed": seed}).weight_KD.tobytes())
    assert found[0] == found[1] != found[2]


def test_sgd_of_a_multi_label_set() -> None:
    one = drawn(60, 8, 2, seed=1, noise=0.5)
    scaled = (one.features_ND - one.features_ND.mean(axis=0)) / one.features_ND.std(axis=0)
    train = Labelled(scaled, np.concatenate([one.labels_NL, 1 - one.labels_NL], axis=1))
    fitted = sgd(train, train, "multi-label, binary-class", 2, **{**THESIS, "epochs": 40})
    found = logits_to_probabilities("multi-label, binary-class", logits(fitted, train.features_ND))
    assert ((found > 0.5) == train.labels_NL).mean() > 0.9
