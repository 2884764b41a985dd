"""Encoders against torchvision's networks with the same weights."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from simclr_med.models.convnext import convnext_tiny
from simclr_med.models.densenet import densenet121
from simclr_med.models.encoders import ResNetEncoder, resnet, tiny
from simclr_med.models.small_maps import SmallMapConv2d, rewrite_small_maps
from simclr_med.models.speed import apply_speedups

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def build_twins(depth: int, dtype: torch.dtype, zero_init_residual: bool = False) -> tuple[ResNetEncoder, nn.Module]:
    """An encoder with the speed-ups and torchvision's network, with the same weights."""
    torch.manual_seed(3)
    network = getattr(torchvision.models, f"resnet{depth}")(zero_init_residual=zero_init_residual).to(dtype)
    network.fc = nn.Identity()
    torch.manual_seed(3)
    encoder = resnet(depth, zero_init_residual=zero_init_residual, mean=MEAN, std=STD).to(dtype)
    apply_speedups(encoder)
    return encoder, network


def images(batch: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


def normalised(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1).to(x)) / torch.tensor(STD).view(3, 1, 1).to(x)


@pytest.mark.parametrize(("depth", "width"), [(18, 512), (34, 512), (50, 2048)])
def test_state_dict_is_torchvisions_without_fc(depth: int, width: int) -> None:
    encoder, network = build_twins(depth, torch.float32)
    ours, theirs = encoder.state_dict(), network.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert encoder.width == width


def test_resnet14_is_a_resnet18_without_its_last_stage() -> None:
    whole, network = build_twins(18, torch.float32)
    encoder = resnet(14, mean=MEAN, std=STD)
    apply_speedups(encoder)
    state = {name: tensor for name, tensor in whole.state_dict().items() if not name.startswith("layer4")}
    encoder.load_state_dict(state)
    network.layer4 = nn.Identity()
    x = images(32, 28, torch.float32)
    with torch.no_grad():
        ours, theirs = encoder(x), network(normalised(x))
    assert ours.shape == (32, encoder.width) == (32, 256)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


# Maps of a stock stem: 28 pixels give 14 7 4 2 1; 64 give 32 16 8 4 2; 8 give 4 2 1 1 1.
@pytest.mark.parametrize(
    ("depth", "size", "batch", "training"),
    [
        (18, 28, 32, True),
        (18, 28, 32, False),
        (18, 28, 3, False),
        (18, 64, 32, False),
        (18, 8, 32, True),
        (50, 28, 4, False),
    ],
)
def test_features_equal_torchvisions(depth: int, size: int, batch: int, training: bool) -> None:
    encoder, network = (module.train(training) for module in build_twins(depth, torch.float32))
    x = images(batch, size, torch.float32)
    with torch.no_grad():
        ours, theirs = encoder(x), network(normalised(x))
    assert ours.shape == (batch, encoder.width)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(encoder.get_buffer(name), buffer, rtol=1e-5, atol=1e-6)


# In train mode float32's rounding grows through the norms, in torchvision's network as much as in ours.
def test_bottlenecks_equal_torchvisions_in_float64() -> None:
    encoder, network = build_twins(50, torch.float64)
    x = images(32, 8, torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), network(normalised(x)), rtol=1e-9, atol=1e-9)


def test_gradients_equal_torchvisions_in_float64() -> None:
    encoder, network = build_twins(18, torch.float64)
    x = images(32, 28, torch.float64)
    weights = torch.linspace(-1, 1, encoder.width, dtype=torch.float64)
    ours, theirs = encoder(x), network(normalised(x))
    assert ours.dtype == torch.float64
    assert (ours - theirs).abs().max() <= 1e-7 * theirs.abs().max()
    (ours @ weights).square().mean().backward()
    (theirs @ weights).square().mean().backward()
    for (name, one), two in zip(encoder.named_parameters(), network.parameters(), strict=True):
        assert (one.grad - two.grad).abs().max() <= 1e-6 * two.grad.abs().max(), name


@pytest.mark.parametrize("build", [resnet, tiny], ids=["resnet", "tiny"])
def test_stock_stem_quarters_and_small_stem_keeps_the_side(build) -> None:
    encoder = build(18) if build is resnet else build()
    x = images(2, 28, torch.float32)
    assert encoder.maxpool(encoder.conv1(x)).shape[-2:] == (7, 7)
    small = resnet(18, stem="small")
    assert small.maxpool(small.conv1(x)).shape == (2, 64, 28, 28)
    assert small.conv1.kernel_size == (3, 3)
    assert small(x).shape == (2, 512)


def test_half_stem_halves_the_side_once() -> None:
    half, x = resnet(18, stem="half"), images(2, 28, torch.float32)
    stages = [half.maxpool(half.conv1(x))]
    for stage in (half.layer1, half.layer2, half.layer3, half.layer4):
        stages.append(stage(stages[-1]))
    assert [maps.shape[-1] for maps in stages] == [14, 14, 7, 4, 2]
    assert half(x).shape == (2, 512)


@pytest.mark.parametrize("stem", ["small", "half"])
def test_3x3_stems_keep_the_keys_and_the_other_weights_shapes(stem) -> None:
    stock, other = resnet(18).state_dict(), resnet(18, stem=stem).state_dict()
    assert list(stock) == list(other)
    assert [name for name in stock if stock[name].shape != other[name].shape] == ["conv1.weight"]


@pytest.mark.parametrize("stem", ["small", "half"])
def test_3x3_stems_are_initialised_by_their_fan_out(stem) -> None:
    weight = resnet(18, stem=stem).conv1.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("depth", "last"), [(18, "bn2"), (50, "bn3")])
def test_zero_init_residual(depth: int, last: str) -> None:
    def zeros(encoder: ResNetEncoder) -> set[str]:
        return {name for name, p in encoder.named_parameters() if name.endswith("weight") and not p.any()}

    expected = {name for name, _ in resnet(depth).named_parameters() if name.endswith(f"{last}.weight") and "." in name}
    assert zeros(resnet(depth, zero_init_residual=True)) == {name for name in expected if name.startswith("layer")}
    assert zeros(resnet(depth)) == set()


def test_one_seed_gives_one_network() -> None:
    def state() -> dict[str, torch.Tensor]:
        torch.manual_seed(11)
        return tiny().state_dict()

    one, two = state(), state()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_rewriting_leaves_the_random_stream_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    rewrite_small_maps(module)
    assert torch.equal(torch.rand(3), expected)


def test_the_encoder_normalises_and_its_state_dict_has_no_moments() -> None:
    encoder = tiny(mean=MEAN, std=STD).eval()
    plain = tiny(mean=(0, 0, 0), std=(1, 1, 1)).eval()
    plain.load_state_dict(encoder.state_dict())
    x = images(4, 28, torch.float32)
    torch.testing.assert_close(encoder(x), plain(normalised(x)))
    assert not {"mean", "std"} & set(encoder.state_dict())


def test_speedups_put_weights_and_maps_in_channels_last_order() -> None:
    encoder = resnet(18)
    apply_speedups(encoder)
    assert encoder.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    encoder.layer1.register_forward_hook(lambda module, args, output: seen.append(output))
    encoder(images(2, 28, torch.float32))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_tiny_is_small_and_speedups_rewrite_it() -> None:
    encoder = tiny()
    assert encoder.width == encoder(images(2, 28, torch.float32)).shape[1] == 64
    assert sum(p.numel() for p in encoder.parameters()) < 100_000
    assert set(encoder.state_dict()) < set(resnet(18).state_dict())
    assert type(encoder.layer4[0].conv2) is nn.Conv2d
    apply_speedups(encoder)
    assert isinstance(encoder.layer4[0].conv2, SmallMapConv2d)


def test_one_channel_is_repeated() -> None:
    encoder = tiny().eval()
    grey = images(4, 28, torch.float32)[:, :1]
    torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    "arguments",
    [{"depth": 19}, {"depth": 18, "stem": "other"}, {"depth": 18, "mean": [0.5]}, {"depth": 18, "std": [1, 0, 1]}],
)
def test_wrong_arguments_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match="expected"):
        resnet(**arguments)


@pytest.mark.parametrize("build", [densenet121, convnext_tiny], ids=["densenet121", "convnext_tiny"])
def test_networks_run_where_torchvisions_refuse_the_size(build) -> None:
    """28 px: 7x7 maps round up to 4, 2 and 1 pixels; torchvision's networks need 32 pixels."""
    torch.manual_seed(0)
    encoder, network = build().eval(), getattr(torchvision.models, build.__name__)().eval()
    with pytest.raises(RuntimeError):
        network(images(2, 28, torch.float32))
    sides = {name: [] for name in encoder.feature_map()}
    for name, found in sides.items():
        encoder.get_submodule(name).register_forward_hook(lambda _m, _i, out, found=found: found.append(out.shape[-1]))
    for size in (4, 28, 33):
        assert encoder(images(2, size, torch.float32)).shape == (2, encoder.width)
    assert [side[1] for side in sides.values()] == [1, 2, 4, 7]


def test_convnext_draws_no_random_numbers_in_training() -> None:
    """Stochastic depth would: a resumed run would end with other weights."""
    encoder = convnext_tiny().train()
    before = torch.get_rng_state()
    encoder(images(2, 28, torch.float32))
    assert torch.equal(torch.get_rng_state(), before)


def test_speedups_leave_function_and_state_dict_alone() -> None:
    torch.manual_seed(0)
    encoder = tiny().eval()
    x = images(40, 28, torch.float32)
    before, state = encoder(x), {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    apply_speedups(encoder)
    torch.testing.assert_close(encoder(x), before, rtol=1e-5, atol=1e-5)
    assert list(encoder.state_dict()) == list(state)
    assert all(torch.equal(encoder.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_images_of_several_channels(channels: int) -> None:
    for encoder in (tiny(in_channels=channels), resnet(18, stem="small", in_channels=channels)):
        assert encoder.conv1.weight.shape[1] == encoder.mean.numel() == encoder.std.numel() == channels
        x = torch.rand(3, channels, 28, 28)
        with torch.no_grad():
            whole = encoder.eval()(x)
            x[:, -1] += 0.5
            assert whole.shape == (3, encoder.width)
            assert not torch.allclose(encoder(x), whole), "the last channel is used"


def test_means_of_several_channels() -> None:
    assert tiny(mean=(0.1, 0.2), std=(0.3, 0.4), in_channels=2).mean.flatten().tolist() == pytest.approx([0.1, 0.2])
    with pytest.raises(ValueError, match="expected 4 numbers, one for each channel"):
        tiny(mean=MEAN, in_channels=4)
