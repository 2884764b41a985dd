"""A batch in parts gives the loss and the gradients of the whole batch, and keeps no activations of its parts."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from models.processes import in_processes
from torch import Tensor, nn

from simclr_med.augment.geometry import horizontal_flip, random_resized_crop
from simclr_med.augment.sequence import Sequence, TwoViews, to_float
from simclr_med.models.encoders import tiny
from simclr_med.models.heads import projection_head
from simclr_med.models.losses import nt_xent
from simclr_med.models.optimizers import sgd
from simclr_med.training.parts import project_parts, split_batch
from simclr_med.training.simclr import SimCLR
from simclr_med.types import Batch

COUNT = 22
IMAGES = torch.randint(0, 256, (COUNT, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PATIENTS = torch.arange(COUNT) // 3


class Toy(nn.Module):
    """An encoder without batch norm."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features_BD: Tensor = self.layers(images_BCHW)
        return features_BD


def build_simclr(parts: int, encoder: nn.Module) -> SimCLR:
    torch.manual_seed(1)
    head = projection_head(encoder.width, hidden=16, out=6, layers=2, batch_norm=False)
    views = TwoViews(Sequence([random_resized_crop((0.3, 1.0), (0.75, 4 / 3)), horizontal_flip(0.5)]))
    make = partial(sgd, lr=0.1, momentum=0.0, weight_decay=0.0, decay_norm_and_bias=False)
    module = SimCLR(encoder, head, views, to_float, make, lambda: lambda step: 1.0, 0.2, None, (5, 0.1), parts)
    return module.double()


def batch(**more: Tensor) -> Batch:
    return Batch(IMAGES, None, torch.arange(COUNT), (0, 1, 2), (0, COUNT), COUNT, **more)


def frozen_tiny() -> nn.Module:
    torch.manual_seed(0)
    return tiny().eval()  # batch norm uses its running statistics


def toy() -> nn.Module:
    torch.manual_seed(0)
    return Toy()


@pytest.mark.parametrize("more", [{}, {"partners": IMAGES.flip(0), "patients": PATIENTS}], ids=["images", "patients"])
@pytest.mark.parametrize("parts", [2, 4, 5])
@pytest.mark.parametrize("build", [frozen_tiny, toy])
def test_gradients_are_those_of_the_whole_batch(build, parts: int, more: dict[str, Tensor]) -> None:
    losses, gradients = [], []
    for count in (1, parts):
        module = build_simclr(count, build())
        loss = module.training_step(batch(**more), 0)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: parameter.grad for name, parameter in module.named_parameters()})
    torch.testing.assert_close(losses[1], losses[0], atol=1e-12, rtol=0)
    for name, gradient in gradients[0].items():
        assert float(gradient.abs().max()) > 1e-6, name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-10, rtol=0, msg=name)


def test_smaller_losses_of_micro_batches_have_other_gradients() -> None:
    """The loss over the whole batch is not the mean of the losses of its parts."""
    module = build_simclr(1, toy())
    whole = float(module.training_step(batch(), 0).detach())
    parts = [float(nt_xent(module.project(part)[1], 0.2).detach()) for part in split_batch(batch(), 2)]
    assert whole - sum(parts) / 2 > 0.3


def test_running_statistics_are_updated_once_for_each_micro_batch() -> None:
    module = build_simclr(4, tiny().train())
    features, projections = module.project(batch())
    after_first_pass = {name: buffer.clone() for name, buffer in module.named_buffers()}
    (features.sum() + projections.square().sum()).backward()
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, after_first_pass[name]), name
    counts = [buffer for name, buffer in module.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(int(count) == 4 for count in counts)
    momenta = {child.momentum for child in module.modules() if isinstance(child, nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_each_part_passes_once_without_and_twice_with_gradients() -> None:
    module = build_simclr(4, toy())
    passes: list[tuple[int, bool]] = []
    module.encoder.register_forward_hook(lambda _, inputs, __: passes.append((len(inputs[0]), torch.is_grad_enabled())))
    with torch.no_grad():
        module.project(batch())
    assert passes == [(10, False), (12, False), (10, False), (12, False)]
    passes.clear()
    module.project(batch())[1].sum().backward()
    assert [count for count, _ in passes] == [10, 12, 10, 12, 12, 10, 12, 10]


def test_first_pass_keeps_no_activations() -> None:
    """Only the loss and the joining of the parts keep tensors that are as large as the batch."""
    kept: dict[int, int] = {}
    for count in (1, 4):
        module, sizes = build_simclr(count, tiny().train()), []
        with torch.autograd.graph.saved_tensors_hooks(lambda saved, to=sizes: to.append(saved.numel()) or saved, id):
            module.training_step(batch(), 0)
        kept[count] = sum(sizes)
    assert kept[4] < kept[1] / 10


def test_bfloat16_gradients_are_as_near_as_those_of_the_whole_batch() -> None:
    gradients = []
    for count, half in ((1, False), (1, True), (4, True)):
        module = build_simclr(count, toy()).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = module.training_step(batch(), 0)
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))
    exact, whole, parts = gradients
    assert parts.dtype == torch.float32
    assert float((parts - exact).norm()) < 1.2 * float((whole - exact).norm())


def test_parts_are_shares_of_the_global_batch() -> None:
    share = batch(partners=IMAGES, patients=PATIENTS)._replace(rows=(22, 44), size=44)
    parts = list(split_batch(share, 4))
    assert [part.rows for part in parts] == [(22, 27), (27, 33), (33, 38), (38, 44)]
    assert {part.size for part in parts} == {44}
    for name in ("images", "indices", "partners", "patients"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(share, name)), name
    assert len(list(split_batch(share, 100))) == COUNT


def test_order_is_that_of_the_whole_batch() -> None:
    def project(part: Batch) -> tuple[Tensor, Tensor]:
        rows = torch.cat([part.indices, part.indices + 100])[:, None]
        return rows, -rows

    features, projections = project_parts(project, batch(), 3, nn.Identity())
    expected = [*range(COUNT), *range(100, 100 + COUNT)]
    assert features[:, 0].tolist() == expected
    assert torch.equal(projections, -features)


def ddp_gradients(rank: int, world: int, parts: int) -> dict[str, Tensor]:
    """The loss and the gradients of one process of several, as Lightning's DDP strategy computes them."""
    module = build_simclr(parts, toy())
    start, stop = (COUNT * number // world for number in (rank, rank + 1))
    own = slice(start, stop)
    partners, patients = IMAGES.flip(0)[own], PATIENTS[own]
    share = Batch(IMAGES[own], None, torch.arange(start, stop), (0, 1, 2), (start, stop), COUNT, partners, patients)
    wrapped = nn.parallel.DistributedDataParallel(TrainingStep(module))
    loss = wrapped(share)
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in module.named_parameters()}}


class TrainingStep(nn.Module):
    """The training step as a forward pass, which is what DDP watches."""

    def __init__(self, module: SimCLR) -> None:
        super().__init__()
        self.module = module

    def forward(self, share: Batch) -> Tensor:
        return self.module.training_step(share, 0)


def test_two_processes_have_the_gradients_of_one() -> None:
    module = build_simclr(1, toy())
    loss = module.training_step(batch(partners=IMAGES.flip(0), patients=PATIENTS), 0)
    loss.backward()
    found = in_processes(2, ddp_gradients, 3)
    assert sum(float(one["loss"]) for one in found) / 2 == pytest.approx(float(loss.detach()), abs=1e-12)
    for name, parameter in module.named_parameters():
        for one in found:
            torch.testing.assert_close(one[name], parameter.grad, atol=1e-10, rtol=0, msg=name)
