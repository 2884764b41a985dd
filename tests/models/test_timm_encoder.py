"""timm's backbones as encoders, against timm itself."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from simclr_med.errors import CheckpointError, ConfigError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.sync_batchnorm import convert_sync_batchnorm
from simclr_med.models.timm_encoder import TimmEncoder, timm_backbone

timm = pytest.importorskip("timm", reason="the extra timm is not installed")


def images(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def load(encoder: TimmEncoder, path: Path) -> str:
    return load_weights(encoder, load_encoder_state(path, encoder.recognize_state))


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050"]
)
def test_features_and_keys_are_timms(name: str) -> None:
    encoder = timm_backbone(name).eval()
    network = timm.create_model(name, num_classes=0).eval()
    assert list(encoder.state_dict()) == list(network.state_dict())
    assert [key for key, _ in encoder.named_parameters()] == [key for key, _ in network.named_parameters()]
    network.load_state_dict(encoder.state_dict())
    pictures = images(160)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        features = encoder(pictures)
        torch.testing.assert_close(features, network((pictures - mean) / std))
    assert features.shape == (2, encoder.width)
    grouped = [key for group in encoder.layer_groups() for key in group]
    assert sorted(grouped) == sorted(key for key, _ in encoder.named_parameters())


def test_images_are_resized_to_the_size_of_the_network() -> None:
    encoder = timm_backbone("test_vit", input_size=32).eval()
    assert encoder.note == "test_vit: images are resized to 32x32 pixels (bilinear)"
    small = images(28)
    resized = nn.functional.interpolate(small, (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert torch.equal(encoder(small), encoder(resized))
    assert timm_backbone("test_vit").size == 160  # its own
    assert timm_backbone("test_resnet").size is None


@pytest.mark.parametrize("through", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_is_a_network_of_its_own(through) -> None:
    encoder = timm_backbone("test_vit", input_size=32).eval()
    copied, pictures = through(encoder), images(32)
    with torch.no_grad():
        before = encoder(pictures)
        assert torch.equal(copied(pictures), before)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(encoder(pictures), before)
        assert not torch.equal(copied(pictures), before)


def test_nothing_is_drawn_in_a_step() -> None:
    encoder = timm_backbone("test_vit", input_size=32).train()
    assert encoder.network.training
    state = torch.get_rng_state()
    encoder(images(32)).sum().backward()
    assert torch.equal(torch.get_rng_state(), state)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, drop_path_rate=0.5, proj_drop_rate=0.5)
    TimmEncoder("vit_tiny_patch16_224", network, 224)
    assert not [module for module in network.modules() if getattr(module, "drop_prob", None)]
    assert not [module for module in network.modules() if isinstance(module, nn.Dropout) and module.p]


def test_one_map_of_a_transformer_has_a_gradient() -> None:
    encoder = timm_backbone("test_vit", input_size=64).eval()
    maps: list[Tensor] = []
    (name,) = encoder.feature_map()
    encoder.get_submodule(name).register_forward_hook(lambda module, inputs, output: maps.append(output))
    features = encoder(images(64))
    assert maps[0].shape == (2, 64, 4, 4)
    (gradient,) = torch.autograd.grad(features[:, 0].sum(), maps[0])
    assert bool(gradient.abs().amax(dim=1).gt(0).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet19"}, r"encoder\.model=resnet19: timm has no such model\. Did you mean resnet18"),
        ({"model": "hf-hub:timm/resnet18"}, "timm has no such model"),
        ({"model": "resnet10t.none"}, r"timm has no weights of this name\. Use resnet10t\.c3_in1k\."),
    ],
)
def test_unknown_models_are_one_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        timm_backbone(**arguments)
    assert "\n" not in str(caught.value)


def test_images_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^encoder\.input_size=28: images of 28x28 pixels do not fit test_vit\."):
        timm_backbone("test_vit", input_size=28)(images(28))
    with pytest.raises(
        ConfigError, match=r"^encoder\.input_size=null: images of 28x28 pixels do not fit test_convnext"
    ):
        timm_backbone("test_convnext")(images(28))


def test_a_missing_timm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"timm is not installed\. Run pip install"):
        timm_backbone("resnet18")


def test_batch_norms_with_an_activation_are_not_synchronised() -> None:
    with pytest.raises(ConfigError, match="BatchNormAct2d cannot be synchronised"):
        convert_sync_batchnorm(timm_backbone("regnetx_002"), "cpu")


def test_a_classifier_of_timm_loads_without_its_last_layer(tmp_path: Path) -> None:
    network, encoder = timm.create_model("test_vit", num_classes=5).eval(), timm_backbone("test_vit").eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    generator = torch.get_rng_state()
    said = load(encoder, tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), generator)
    assert "timm (model=test_vit) from the timm state dict (without head.bias, head.weight)" in said
    pictures = images(160)
    with torch.no_grad():
        own = network.forward_head(network.forward_features((pictures - 0.5) / 0.5), pre_logits=True)
        torch.testing.assert_close(encoder(pictures), own)


def test_position_embeddings_are_interpolated(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pth")
    encoder = timm_backbone("test_vit", input_size=64)
    load(encoder, tmp_path / "weights.pth")
    assert encoder.state_dict()["pos_embed"].shape == (1, 17, 64)


def test_layout_of_dinov2(tmp_path: Path) -> None:
    """As in its released files: a mask token, and position embeddings that include the class token."""
    network = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=70).eval()
    state = network.state_dict()
    state["mask_token"] = torch.zeros(1, 384)
    path = tmp_path / "dinov2_vits14.pth"
    torch.save(state, path)
    encoder = timm_backbone("vit_small_patch14_dinov2", input_size=70).eval()
    assert "without mask_token" in load(encoder, path)
    pictures = images(70)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(encoder(pictures), network((pictures - mean) / std))


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_loading_is_strict(change: str, tmp_path: Path) -> None:
    encoder = timm_backbone("test_resnet")
    state = timm.create_model("test_resnet").state_dict()
    if change == "missing":
        del state["layer1.0.conv1.weight"]
    elif change == "surplus":
        state["layer9.weight"] = torch.zeros(2)
    else:
        state["conv1.0.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "weights.pth")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match="do not fit this encoder") as caught:
        load(encoder, tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_images_of_several_channels() -> None:
    encoder = timm_backbone("resnet10t", in_channels=5).eval()
    assert encoder.mean.flatten().tolist() == encoder.std.flatten().tolist() == [0.5] * 5
    with torch.no_grad():
        assert encoder(torch.rand(2, 5, 32, 32)).shape == (2, encoder.width)
