"""NT-Xent against the paper's algorithm 1 written as loops, and across processes against one process."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from simclr_med.models.losses import classification_loss, contrastive_ranks, nt_xent, similarity_logits

from .processes import in_processes


def projections(rows: int, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(z: Tensor, temperature: float) -> float:
    """Algorithm 1 of arXiv 2002.05709, with rows k and k + n the two views of image k."""
    rows = z.tolist()
    n = len(rows) // 2

    def similarity(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return dot / (math.hypot(*rows[i]) * math.hypot(*rows[j]))

    def pair(i: int, j: int) -> float:
        others = sum(math.exp(similarity(i, k) / temperature) for k in range(2 * n) if k != i)
        return -math.log(math.exp(similarity(i, j) / temperature) / others)

    return sum(pair(k, k + n) + pair(k + n, k) for k in range(n)) / (2 * n)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_loss_is_the_papers(images: int, temperature: float) -> None:
    z = projections(2 * images)
    assert float(nt_xent(z, temperature)) == pytest.approx(by_loops(z, temperature), rel=1e-12, abs=1e-14)


def test_loss_of_equal_projections() -> None:
    assert float(nt_xent(torch.ones(16, 4), 0.07)) == pytest.approx(math.log(15), rel=1e-6)


def test_gradients() -> None:
    z = projections(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: nt_xent(rows, 0.3), (z,))


def test_length_of_a_projection_does_not_matter() -> None:
    z = projections(8)
    torch.testing.assert_close(nt_xent(z * torch.linspace(1, 9, 8).double()[:, None], 0.1), nt_xent(z, 0.1))


def test_logits_and_targets() -> None:
    z = projections(6)
    logits, targets = similarity_logits(z, 0.2)
    assert targets.tolist() == [3, 4, 5, 0, 1, 2]
    expected = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=2) / 0.2
    away = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(logits[away], expected[away])
    assert logits.diagonal().isneginf().all()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64,) * 2,
    ],
)
def test_loss_is_computed_in_float32_at_least(dtype, expected) -> None:
    z = projections(8).to(dtype).requires_grad_()
    loss = nt_xent(z, 0.07)
    loss.backward()
    assert loss.dtype == expected
    assert z.grad.dtype == dtype
    assert float(loss.detach()) == pytest.approx(by_loops(z.detach().double(), 0.07), rel=1e-5)


def test_autocast_does_not_reach_the_loss() -> None:
    z = projections(8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(z, 0.07)
    assert float(loss) == pytest.approx(by_loops(z.double(), 0.07), rel=1e-5)


def test_loss_is_finite_at_a_small_temperature_and_for_zeros() -> None:
    assert nt_xent(projections(8).float(), 1e-3).isfinite()
    z = torch.zeros(4, 3, requires_grad=True)
    nt_xent(z, 0.07).backward()
    assert z.grad.isfinite().all()


def test_ranks() -> None:
    inf = float("inf")
    logits = torch.tensor([[-inf, 1, 2, 3], [4, -inf, 2, 3], [1, 2, -inf, 3], [5, 5, 5, -inf]])
    assert contrastive_ranks(logits, torch.tensor([2, 3, 0, 1])).tolist() == [1, 1, 2, 2]


def test_ranks_of_a_collapsed_encoder_are_the_last() -> None:
    assert set(contrastive_ranks(*similarity_logits(torch.ones(8, 3), 0.07)).tolist()) == {6}


@pytest.mark.parametrize(
    ("shape", "temperature"), [((3, 4), 0.1), ((0, 4), 0.1), ((4,), 0.1), ((4, 4), 0), ((4, 4), -1)]
)
def test_wrong_arguments_are_refused(shape, temperature: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        nt_xent(torch.ones(shape), temperature)


def test_a_group_of_one_process_changes_nothing(tmp_path: Path) -> None:
    z = projections(8)
    alone = similarity_logits(z, 0.1)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        grouped = similarity_logits(z, 0.1)
    finally:
        dist.destroy_process_group()
    assert all(torch.equal(a, b) for a, b in zip(alone, grouped, strict=True))


def share(z: Tensor, rank: int, world: int) -> Tensor:
    """Rows of one process: its images' first views, then their second views."""
    return torch.cat([view.chunk(world)[rank] for view in z.chunk(2)])


def averaged_gradient(rank: int, world: int, z: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """What DDP leaves: the mean over processes of the gradient of a weight that made the projections."""
    weight = weight.clone().requires_grad_()
    local = share(z, rank, world) @ weight
    logits, targets = similarity_logits(local, 0.2)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    dist.all_reduce(weight.grad)
    alone, _ = similarity_logits(local.detach(), 0.2, gather=False)
    return {
        "loss": loss.detach(),
        "grad": weight.grad / world,
        "ranks": contrastive_ranks(logits.detach(), targets),
        "alone": torch.tensor(alone.shape),
    }


@pytest.mark.process
def test_processes_together_are_one_process() -> None:
    world = 3
    z, weight = projections(24, 5), projections(5, 4, seed=1)
    results = in_processes(world, averaged_gradient, z, weight)
    whole = weight.clone().requires_grad_()
    logits, targets = similarity_logits(z @ whole, 0.2)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    ranks = contrastive_ranks(logits.detach(), targets)
    assert sum(float(result["loss"]) for result in results) / world == pytest.approx(float(loss.detach()), rel=1e-12)
    for rank, result in enumerate(results):
        torch.testing.assert_close(result["grad"], whole.grad, rtol=1e-11, atol=1e-13)
        assert torch.equal(result["ranks"], share(ranks, rank, world))
        assert result["alone"].tolist() == [24 // world] * 2


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 0.0)])
def test_cross_entropy_of_single_labels(weights: tuple[float, ...] | None) -> None:
    """The mean of -log p of the right class, weighted by the right class's weight."""
    logits, labels = projections(6, 3), torch.tensor([[0], [1], [1], [0], [1], [2]])
    each = [-math.log(p[k]) for p, (k,) in zip(logits.softmax(dim=1).tolist(), labels.tolist(), strict=True)]
    weight = [1.0 if weights is None else weights[k] for (k,) in labels.tolist()]
    expected = sum(w * x for w, x in zip(weight, each, strict=True)) / sum(weight)
    given = None if weights is None else torch.tensor(weights).double()
    for task in ("multi-class", "ordinal-regression"):
        assert float(classification_loss(task, logits, labels, given)) == pytest.approx(expected, rel=1e-12)
    two = classification_loss("binary-class", logits[:, :2], labels.clamp(max=1), None)
    assert float(two) == pytest.approx(float(nn_cross_entropy(logits[:, :2], labels.clamp(max=1))), rel=1e-12)


def nn_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.log_softmax(dim=1).gather(1, labels).mean()


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_cross_entropy_of_every_label_by_itself(weights: tuple[float, ...] | None) -> None:
    """The mean over images and labels of -log of the right answer's probability, the positive ones weighted."""
    logits, labels = projections(4, 3), torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]])
    total = 0.0
    for row, answers in zip(logits.sigmoid().tolist(), labels.tolist(), strict=True):
        for k, (p, positive) in enumerate(zip(row, answers, strict=True)):
            total -= (1.0 if weights is None else weights[k]) * math.log(p) if positive else math.log(1 - p)
    given = None if weights is None else torch.tensor(weights).double()
    found = classification_loss("multi-label, binary-class", logits, labels, given)
    assert float(found) == pytest.approx(total / 12, rel=1e-12)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 0.0)])
def test_label_smoothing_equals_that_of_torch(weights: tuple[float, ...] | None) -> None:
    logits, labels = projections(6, 3), torch.tensor([[0], [1], [1], [0], [1], [0]])
    given = None if weights is None else torch.tensor(weights).double()
    found = classification_loss("multi-class", logits, labels, given, label_smoothing=0.1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 0], weight=given, label_smoothing=0.1)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert float(found) != pytest.approx(float(classification_loss("multi-class", logits, labels, given)), rel=1e-4)


def test_label_smoothing_of_several_labels_spreads_each_over_its_two_values() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]).double(), torch.tensor([[1, 0]])
    found = classification_loss("multi-label, binary-class", logits, labels, label_smoothing=0.1)
    log_p = [math.log(1 / (1 + math.exp(-x))) for x in (2.0, -1.0)]
    log_q = [math.log(1 / (1 + math.exp(x))) for x in (2.0, -1.0)]
    expected = -(0.95 * log_p[0] + 0.05 * log_q[0] + 0.05 * log_p[1] + 0.95 * log_q[1]) / 2
    assert float(found) == pytest.approx(expected, rel=1e-12)


def classifier_gradient(rank: int, world: int, task: str, weights: Tensor | None) -> dict[str, Tensor]:
    """Loss and gradient of a linear classifier on a rank's share of 7 images, averaged over ranks as DDP does."""
    features, weight = projections(7, 4), projections(4, 3, seed=1).requires_grad_()
    labels = torch.tensor([[0], [1], [2], [2], [2], [0], [2]])
    if task.startswith("multi-label"):
        labels = torch.nn.functional.one_hot(labels[:, 0], 3)
    start, stop = (7 * r // world for r in (rank, rank + 1))
    loss = classification_loss(task, features[start:stop] @ weight, labels[start:stop], weights, 0.1)  # type: ignore[arg-type]
    loss.backward()
    grad, value = weight.grad, loss.detach().clone()
    if world > 1:
        dist.all_reduce(grad)
        dist.all_reduce(value)
    return {"loss": value / world, "grad": grad / world}


@pytest.mark.process
@pytest.mark.parametrize("task", ["multi-class", "multi-label, binary-class"])
@pytest.mark.parametrize("weighted", [False, True])
def test_classifier_gradient_of_unequal_shares_is_that_of_one_process(task: str, weighted: bool) -> None:
    weights = torch.tensor([0.3, 3.0, 1.5]).double() if weighted else None
    alone = classifier_gradient(0, 1, task, weights)
    for result in in_processes(3, classifier_gradient, task, weights):
        torch.testing.assert_close(result, alone, rtol=1e-12, atol=1e-14)


def masked_by_numpy(z: np.ndarray, patients: list[int], temperature: float) -> float:
    """NT-Xent whose negatives are the images of other patients, in loops over NumPy rows."""
    count = len(patients)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for anchor in range(2 * count):
        positive = (anchor + count) % (2 * count)
        candidates = [positive]
        candidates += [k for k in range(2 * count) if patients[k % count] != patients[anchor % count]]
        exponentials = np.exp(unit[candidates] @ unit[anchor] / temperature)
        losses.append(-np.log(exponentials[0] / exponentials.sum()))
    return float(np.mean(losses))


PATIENTS = [0, 1, 0, 2, 1, 0, 3, 4]


def test_masked_loss_is_that_of_the_numpy_reference() -> None:
    z = projections(16)
    found = nt_xent(z, 0.3, patients_B=torch.tensor(PATIENTS))
    assert float(found) == pytest.approx(masked_by_numpy(z.numpy(), PATIENTS, 0.3), rel=1e-12)
    assert float(found) < float(nt_xent(z, 0.3)) - 0.05


def test_masked_gradients() -> None:
    z = projections(16, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: nt_xent(rows, 0.3, patients_B=torch.tensor(PATIENTS)), (z,))


def test_mask_of_different_patients_changes_no_bit() -> None:
    z = projections(16)
    masked = similarity_logits(z, 0.1, patients_B=torch.arange(8))
    assert all(torch.equal(a, b) for a, b in zip(masked, similarity_logits(z, 0.1), strict=True))


def test_masked_images_are_no_candidates_and_a_batch_of_one_patient_has_no_loss() -> None:
    logits, targets = similarity_logits(projections(16), 0.1, patients_B=torch.tensor(PATIENTS))
    assert logits.isneginf().sum(dim=1).tolist() == [5, 3, 5, 1, 3, 5, 1, 1] * 2
    assert logits.gather(1, targets[:, None]).isfinite().all()
    z = projections(16).requires_grad_()
    loss = nt_xent(z, 0.1, patients_B=torch.zeros(8, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not z.grad.any()


def masked_gradient(rank: int, world: int, z: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """As `averaged_gradient`, with a mask; and the mean loss."""
    weight = weight.clone().requires_grad_()
    patients = torch.tensor(PATIENTS).chunk(world)[rank]
    loss = nt_xent(share(z, rank, world) @ weight, 0.2, patients_B=patients)
    loss.backward()
    found = torch.cat([weight.grad.flatten(), loss.detach()[None]])
    if world > 1:
        dist.all_reduce(found)
    return {"found": found / world}


def test_masked_loss_of_two_processes_is_that_of_one() -> None:
    z, weight = projections(16), projections(5, 4, seed=1)
    alone = masked_gradient(0, 1, z, weight)["found"]
    for found in in_processes(2, masked_gradient, z, weight):
        torch.testing.assert_close(found["found"], alone, atol=1e-12, rtol=0)
