"""Synced batch norm against one process with the whole batch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from simclr_med.models.encoders import tiny
from simclr_med.models.heads import projection_head
from simclr_med.models.normalization import SyncedBatchNorm1d, SyncedBatchNorm2d, synced

from .processes import in_processes


def values(*shape: int, seed: int = 0) -> Tensor:
    # An offset far above the deviation: a sum of squares would cancel.
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1000


def norm(kind: type[nn.Module], **arguments: object) -> nn.Module:
    made = kind(3, **arguments).double()
    for index, parameter in enumerate(made.parameters()):
        nn.init.normal_(parameter, mean=index + 0.5, generator=torch.Generator().manual_seed(index))
    return made


def test_conversion_keeps_parameters_buffers_names_and_mode() -> None:
    module = nn.Sequential(tiny(), projection_head(64, 8, 4, batch_norm=True)).eval()
    before, parameters = module.state_dict(), dict(module.named_parameters())
    assert synced(module) is module
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == before[name].data_ptr() for name in before)
    assert all(parameter is parameters[name] for name, parameter in module.named_parameters())
    kinds = {type(child) for child in module.modules()}
    assert {SyncedBatchNorm1d, SyncedBatchNorm2d} < kinds
    assert not {nn.BatchNorm1d, nn.BatchNorm2d} & kinds
    assert not any(child.training for child in module.modules())
    assert type(synced(nn.BatchNorm2d(3))) is SyncedBatchNorm2d


@pytest.mark.parametrize("training", [True, False])
def test_one_process_is_plain_batch_norm(training: bool) -> None:
    plain = norm(nn.BatchNorm2d).train(training)
    ours = synced(copy.deepcopy(plain))
    assert ours.training is training
    x = values(4, 3, 2, 2)
    assert torch.equal(ours(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), plain.buffers(), strict=True))


# Uneven shares, to see that a process counts by its values.
SHARES = ([0, 2, 7], [0, 1, 4, 7])


def one_share(
    rank: int, world: int, module: nn.Module, x: Tensor, cotangent: Tensor, bounds: list[int]
) -> dict[str, Tensor]:
    module = synced(module)
    part = slice(bounds[rank], bounds[rank + 1])
    local = x[part].clone().requires_grad_()
    output = module(local)
    (output * cotangent[part]).sum().backward()
    for parameter in module.parameters():
        dist.all_reduce(parameter.grad)
    made = {name: parameter.grad for name, parameter in module.named_parameters()} | dict(module.named_buffers())
    module.eval()(local.detach())
    return {"output": output.detach(), "grad": local.grad, **made}


@pytest.mark.process
@pytest.mark.parametrize("bounds", SHARES, ids=["2 processes", "3 processes"])
@pytest.mark.parametrize(
    ("kind", "shape", "arguments"),
    [
        (nn.BatchNorm2d, (7, 3, 4, 2), {}),
        (nn.BatchNorm2d, (7, 3, 1, 1), {"momentum": None}),
        (nn.BatchNorm1d, (7, 3), {"affine": False}),
        (nn.BatchNorm1d, (7, 3), {"track_running_stats": False}),
    ],
    ids=["2d", "1x1 map, cumulative", "1d, not affine", "1d, no statistics"],
)
def test_processes_together_are_one_process(kind, shape, arguments, bounds: list[int]) -> None:
    module, x, cotangent = norm(kind, **arguments), values(*shape), values(*shape, seed=1) - 1000
    results = in_processes(len(bounds) - 1, one_share, copy.deepcopy(module), x, cotangent, bounds)
    whole = x.clone().requires_grad_()
    output = module(whole)
    (output * cotangent).sum().backward()

    def close(got: Tensor, want: Tensor) -> None:
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)

    close(torch.cat([result["output"] for result in results]), output.detach())
    close(torch.cat([result["grad"] for result in results]), whole.grad)
    for result in results:
        for name, parameter in module.named_parameters():
            close(result[name], parameter.grad)
        for name, buffer in module.named_buffers():
            close(result[name], buffer)


def encoder_gradients(rank: int, world: int, images: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    encoder = synced(tiny().double())
    local = images.chunk(world)[rank]
    encoder(local).square().mean().backward()
    for parameter in encoder.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}


@pytest.mark.process
def test_an_encoder_in_two_processes_is_one() -> None:
    images = torch.rand(8, 3, 28, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.manual_seed(0)
    encoder = tiny().double()
    encoder(images).square().mean().backward()
    for gradients in in_processes(2, encoder_gradients, images):
        for name, parameter in encoder.named_parameters():
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-8, atol=1e-8 * scale, msg=name)
