"""Synchronised batch norm against one process with the whole batch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from simclr_med.models.encoders import tiny
from simclr_med.models.heads import projection_head
from simclr_med.models.sync_batchnorm import SyncedBatchNorm1d, SyncedBatchNorm2d, convert_sync_batchnorm

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
    assert convert_sync_batchnorm(module, "cpu") is module
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == before[name].data_ptr() for name in before)
    assert all(parameter is parameters[name] for name, parameter in module.named_parameters())
    kinds = {type(child) for child in module.modules()}
    assert {SyncedBatchNorm1d, SyncedBatchNorm2d} < kinds
    assert not {nn.BatchNorm1d, nn.BatchNorm2d} & kinds
    assert not any(child.training for child in module.modules())
    assert type(convert_sync_batchnorm(nn.BatchNorm2d(3), "cpu")) is SyncedBatchNorm2d


@pytest.mark.parametrize(
    ("device_type", "kinds"),
    [
        ("cuda", {nn.SyncBatchNorm}),
        ("cpu", {SyncedBatchNorm1d, SyncedBatchNorm2d}),
        ("mps", {SyncedBatchNorm1d, SyncedBatchNorm2d}),
    ],
)
def test_cuda_has_torchs_layers_and_other_devices_ours(device_type: str, kinds: set[type[nn.Module]]) -> None:
    module = nn.Sequential(tiny(), projection_head(64, 8, 4, batch_norm=True))
    before, parameters = module.state_dict(), dict(module.named_parameters())
    convert_sync_batchnorm(module, device_type)
    norms = {type(child) for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)}
    assert norms == kinds
    assert list(module.state_dict()) == list(before)
    assert all(parameter is parameters[name] for name, parameter in module.named_parameters())


@pytest.mark.parametrize("training", [True, False])
def test_one_process_is_plain_batch_norm(training: bool) -> None:
    plain = norm(nn.BatchNorm2d).train(training)
    ours = convert_sync_batchnorm(copy.deepcopy(plain), "cpu")
    assert ours.training is training
    x = values(4, 3, 2, 2)
    assert torch.equal(ours(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), plain.buffers(), strict=True))


# kind, shape, arguments
CASES = [
    (nn.BatchNorm2d, (7, 3, 4, 2), {}),
    (nn.BatchNorm2d, (7, 3, 1, 1), {"momentum": None}),
    (nn.BatchNorm1d, (7, 3), {"affine": False}),
    (nn.BatchNorm1d, (7, 3, 2), {"track_running_stats": False}),
]
# Uneven shares: a process counts by its values.
BOUNDS = [0, 2, 7]


def cases() -> list[tuple[nn.Module, Tensor, Tensor]]:
    """A module, its input and the gradient of its output."""
    return [(norm(kind, **more), values(*shape), values(*shape, seed=1) - 1000) for kind, shape, more in CASES]


def shares(rank: int, world: int) -> list[dict[str, Tensor]]:
    return [one_share(rank, convert_sync_batchnorm(module, "cpu"), x, cotangent) for module, x, cotangent in cases()]


def one_share(rank: int, module: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    part = slice(BOUNDS[rank], BOUNDS[rank + 1])
    local = x[part].clone().requires_grad_()
    output = module(local)
    (output * cotangent[part]).sum().backward()
    for parameter in module.parameters():
        dist.all_reduce(parameter.grad)
    made = {name: parameter.grad for name, parameter in module.named_parameters()} | dict(module.named_buffers())
    return {"output": output.detach(), "grad": local.grad, **made}


@pytest.mark.process
def test_processes_together_are_one_process() -> None:
    results = in_processes(2, shares)
    for index, (module, x, cotangent) in enumerate(cases()):
        whole = x.clone().requires_grad_()
        output = module(whole)
        (output * cotangent).sum().backward()
        expected = {name: parameter.grad for name, parameter in module.named_parameters()} | dict(
            module.named_buffers()
        )
        close(torch.cat([result[index]["output"] for result in results]), output.detach())
        close(torch.cat([result[index]["grad"] for result in results]), whole.grad)
        for result in results:
            for name, tensor in expected.items():
                close(result[index][name], tensor)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def encoder_gradients(rank: int, world: int, images: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    encoder = convert_sync_batchnorm(tiny().double(), "cpu")
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
