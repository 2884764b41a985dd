"""Optimizers against torch's own, LARS by hand, and learning rates by layer."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from simclr_med.models.encoders import resnet, tiny
from simclr_med.models.heads import linear_head
from simclr_med.models.optimizers import Lars, adam, adamw, build_layerwise_optimizer, lars, sgd


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3, bias=False)).double()


def with_gradients(module: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
    return module


def decays(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, float]:
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


def test_adamw_decays_everything_or_the_weights_alone() -> None:
    module = network()
    everything = adamw(module.named_parameters(), lr=1, weight_decay=0.1, decay_norm_and_bias=True)
    assert set(decays(everything, module).values()) == {0.1}
    assert len(decays(everything, module)) == 5
    weights = adamw(module.named_parameters(), lr=1, weight_decay=0.1, decay_norm_and_bias=False)
    assert decays(weights, module) == {"0.weight": 0.1, "2.weight": 0.1, "0.bias": 0, "1.weight": 0, "1.bias": 0}


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            lambda n: adamw(n, lr=5e-4, weight_decay=1e-4, decay_norm_and_bias=True),
            lambda p: torch.optim.AdamW(p, lr=5e-4, weight_decay=1e-4, foreach=False),
        ),
        (
            lambda n: adam(n, lr=1e-3, weight_decay=1e-2, decay_norm_and_bias=True),
            lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-2, foreach=False),
        ),
        (
            lambda n: sgd(n, lr=0.1, momentum=0.9, weight_decay=1e-2, decay_norm_and_bias=True, nesterov=True),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2, nesterov=True, foreach=False),
        ),
    ],
    ids=["adamw", "adam", "sgd"],
)
def test_updates_are_torchs_in_channels_last_too(ours, torchs) -> None:
    torch.manual_seed(0)
    module = tiny().double()
    reference = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    optimizer, expected = ours(module.named_parameters()), torchs(reference.parameters())
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(2):
        for net, steps in ((module, optimizer), (reference, expected)):
            steps.zero_grad()
            net(images).square().sum().backward()
            steps.step()
    for (name, one), two in zip(module.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6, msg=name)


def test_lars_by_hand() -> None:
    """Two steps of SimCLR's rule, written out for each parameter."""
    module = network()
    optimizer = lars(
        module.named_parameters(),
        lr=0.3,
        weight_decay=0.01,
        momentum=0.9,
        eta=0.001,
        lr_scaling="linear",
        batch_size=512,
    )
    values = {name: p.detach().clone() for name, p in module.named_parameters()}
    velocities = {name: torch.zeros_like(p) for name, p in values.items()}
    for step in range(2):
        with_gradients(module, step)
        for name, parameter in module.named_parameters():
            gradient, rate = parameter.grad.clone(), 0.6
            if name in ("0.weight", "2.weight"):
                gradient += 0.01 * values[name]
                rate *= 0.001 * float(values[name].square().sum().sqrt() / gradient.square().sum().sqrt())
            velocities[name] = 0.9 * velocities[name] + rate * gradient
            values[name] -= velocities[name]
        optimizer.step()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), values[name], rtol=1e-12, atol=1e-14)


def test_lars_does_not_scale_where_a_norm_is_zero() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = lars([("w", weight)], 1.0, 0.0, 0.9, 0.001, "none", 1)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), -torch.ones(2, 2))


@pytest.mark.parametrize(("rule", "lr"), [("linear", 0.3 * 4), ("sqrt", 0.3 * 32), ("none", 0.3)])
def test_lars_scaling_rules(rule, lr: float) -> None:
    optimizer = lars(network().named_parameters(), 0.3, 1e-6, 0.9, 0.001, rule, batch_size=1024)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([lr, lr])


def test_lars_resumes_where_it_was() -> None:
    def make(module: nn.Module) -> Lars:
        return lars(module.named_parameters(), 0.3, 1e-6, 0.9, 0.001, "linear", 256)

    through = network()
    optimizer = make(through)
    with_gradients(through, 1)
    optimizer.step()
    resumed = copy.deepcopy(through)
    again = make(resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for module, steps in ((through, optimizer), (resumed, again)):
        with_gradients(module, 2)
        steps.step()
    assert all(torch.equal(a, b) for a, b in zip(through.parameters(), resumed.parameters(), strict=True))


def test_frozen_parameters_are_left_out() -> None:
    module = network()
    module[0].requires_grad_(False)
    made = adam(module.named_parameters(), lr=1, weight_decay=0, decay_norm_and_bias=True)
    assert set(decays(made, module)) == {"1.weight", "1.bias", "2.weight"}


@pytest.mark.parametrize(("rule", "batch_size"), [("cubic", 256), ("linear", 0)])
def test_wrong_scaling_is_refused(rule, batch_size: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        lars(network().named_parameters(), 0.3, 1e-6, 0.9, 0.001, rule, batch_size)


MAKERS = {
    "adamw": partial(adamw, lr=0.1, weight_decay=0.2, decay_norm_and_bias=False),
    "adam": partial(adam, lr=0.1, weight_decay=0.2, decay_norm_and_bias=True),
    "sgd": partial(sgd, lr=0.1, momentum=0.9, weight_decay=0.2, decay_norm_and_bias=False, nesterov=True),
    "lars": partial(lars, lr=0.1, weight_decay=0.2, momentum=0.9, eta=0.001, lr_scaling="none", batch_size=1),
}


def classifier(encoder: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [*encoder.named_parameters(), *linear_head(64, 3).named_parameters(prefix="head")]


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
@pytest.mark.parametrize("encoder", [tiny, partial(resnet, 18), partial(resnet, 50)], ids=["tiny", "resnet18", "50"])
def test_layerwise_rates_fall_from_the_head_to_the_stem(make, encoder) -> None:
    network = encoder()
    named = classifier(network)
    optimizer = build_layerwise_optimizer(make, named, 0.5, network.layer_groups())
    names = {parameter: name for name, parameter in named}
    rates = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(rates) == {name for name, _ in named}
    steps = {"head": 0, "layer4": 1, "layer3": 2, "layer2": 3, "layer1": 4, "conv1": 5, "bn1": 5}
    assert rates == {name: pytest.approx(0.1 * 0.5 ** steps[name.split(".")[0]]) for name, _ in named}
    plain = make(named)
    kept = {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert kept == {names[p]: group["weight_decay"] for group in plain.param_groups for p in group["params"]}
    others = {"params", "lr", "weight_decay", "adapt"}
    for group in optimizer.param_groups:
        assert {k: v for k, v in group.items() if k not in others} == {
            k: v for k, v in plain.param_groups[0].items() if k not in others
        }


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_layerwise_without_decay_is_the_plain_optimizer(make) -> None:
    torch.manual_seed(0)
    one = tiny()
    two = copy.deepcopy(one)
    optimizers = (
        build_layerwise_optimizer(make, one.named_parameters(), 1, one.layer_groups()),
        make(two.named_parameters()),
    )
    assert len(optimizers[0].param_groups) == len(optimizers[1].param_groups)
    for module, steps in zip((one, two), optimizers, strict=True):
        with_gradients(module)
        steps.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_layerwise_steps_are_those_of_an_optimizer_for_each_depth() -> None:
    torch.manual_seed(0)
    one = tiny()
    two = copy.deepcopy(one)
    whole = build_layerwise_optimizer(MAKERS["adamw"], one.named_parameters(), 0.5, one.layer_groups())
    with_gradients(one), with_gradients(two)
    whole.step()
    for prefix, rate in (("layer4", 0.1), ("layer3", 0.05), ("layer2", 0.025), ("layer1", 0.0125)):
        part = [(name, p) for name, p in two.named_parameters() if name.startswith(prefix)]
        adamw(part, lr=rate, weight_decay=0.2, decay_norm_and_bias=False).step()
    stem = [(name, p) for name, p in two.named_parameters() if not name.startswith("layer")]
    adamw(stem, lr=0.00625, weight_decay=0.2, decay_norm_and_bias=False).step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([["0.weight", "0.bias"], ["1.weight", "1.bias"]], "2.weight is in no group"),
        ([["0.weight", "0.bias"], ["1.weight", "1.bias", "2.weight", "0.bias"]], "0.bias is in two groups"),
        ([["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "9.weight"]], "9.weight is no parameter"),
    ],
)
def test_layer_groups_hold_every_parameter_once(groups: list[list[str]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build_layerwise_optimizer(MAKERS["sgd"], network().named_parameters(), 0.5, groups)


def test_an_encoders_own_parameter_named_as_the_heads_keeps_its_group() -> None:
    own, classifiers = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    named = [("head.weight", own), ("head.weight", classifiers)]
    optimizer = build_layerwise_optimizer(MAKERS["sgd"], named, 0.5, [["head.weight"]])
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {id(own): 0.05, id(classifiers): 0.1}


def test_encoder_has_a_rate_of_its_own() -> None:
    encoder, head = tiny(), linear_head(64, 3)
    named = [*encoder.named_parameters(), *head.named_parameters(prefix="head")]

    def rates(**options: float | bool) -> dict[str, float]:
        optimizer = build_layerwise_optimizer(
            MAKERS["sgd"], named, groups=encoder.layer_groups(), **({"decay": 1.0} | options)
        )
        found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        return {name: found[id(parameter)] for name, parameter in named}

    slow = rates(encoder_lr=0.25)
    assert {name: rate for name, rate in slow.items() if name.startswith("head.")} == {
        "head.weight": 0.1,
        "head.bias": 0.1,
    }
    assert {rate for name, rate in slow.items() if not name.startswith("head.")} == {0.025}
    both = rates(encoder_lr=0.25, decay=0.5)
    assert (both["layer4.0.conv1.weight"], both["conv1.weight"]) == pytest.approx((0.1 * 0.25 * 0.5, 0.1 * 0.25 / 32))
    assert set(rates(split=True).values()) == {0.1}
