"""Encoders written to files, and read from every kind of file."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import safetensors
import torch
import torchvision
from torch import nn

from simclr_med.errors import CheckpointError
from simclr_med.models.convnext import convnext_tiny
from simclr_med.models.densenet import densenet121
from simclr_med.models.encoder_files import load_encoder_state, load_weights, save_encoder
from simclr_med.models.encoder_hashes import encoder_hash, encoder_metadata, weights_hash
from simclr_med.models.encoders import resnet, set_option, tiny
from simclr_med.models.heads import projection_head
from simclr_med.models.speed import apply_speedups

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def trained():
    """An encoder whose tensors all differ from a new one's."""
    encoder = tiny(mean=MEAN, std=STD)
    encoder(torch.rand(8, 3, 28, 28))
    return encoder.eval()


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def same(one: nn.Module, two: nn.Module) -> bool:
    images = torch.rand(4, 3, 28, 28)
    return torch.equal(one.eval()(images), two.eval()(images))


def refused(path: Path, words: str, encoder: nn.Module | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        load_weights(encoder or tiny(), load_encoder_state(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, {"config_hash": "abc", "mean": "not this"})
    other = tiny()
    apply_speedups(other)
    description = load_weights(other, load_encoder_state(path))
    assert description == f"a ResNet of 1-1-1-1 blocks with the stock stem, 8 channels wide from the encoder {path}"
    apply_speedups(encoder)
    assert same(other, encoder)
    assert torch.equal(other.mean, encoder.mean)
    assert torch.equal(other.std, encoder.std)
    assert other.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_safetensors_has_torchvisions_keys_and_metadata(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, {"config_hash": "abc"})
    with safetensors.safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert names == set(encoder.state_dict())
    assert (metadata["mean"], metadata["std"]) == ("[0.1, 0.2, 0.3]", "[0.4, 0.5, 0.6]")
    assert metadata["config_hash"] == "abc"
    assert metadata["weights_hash"] == weights_hash(encoder.state_dict())


@pytest.mark.parametrize("with_metadata", [True, False])
def test_our_checkpoint(tmp_path: Path, with_metadata: bool) -> None:
    encoder, head, path = trained(), projection_head(64, 8, 4), tmp_path / "last.ckpt"
    content = {"state_dict": under("encoder.", encoder.state_dict()) | under("head.", head.state_dict()), "epoch": 3}
    torch.save(content | ({"encoder_metadata": encoder_metadata(encoder)} if with_metadata else {}), path)
    loaded = load_encoder_state(path)
    other = tiny(mean=(0, 0, 0), std=(1, 1, 1))
    load_weights(other, loaded)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in encoder.state_dict().items())
    assert torch.equal(other.mean, encoder.mean if with_metadata else torch.zeros(1, 3, 1, 1))
    head.load_state_dict(loaded.head)


# The other content of the thesis's Lightning 1.9 checkpoints.
LIGHTNING = {
    "epoch": 9,
    "pytorch-lightning_version": "1.9.0",
    "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 5e-4}]}],
    "hyper_parameters": {"lr": 5e-4, "hidden_dim": 128},
    "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_path": "a.ckpt"}},
}


@pytest.mark.parametrize(("prefix", "kind"), [("convnet.", "pretraining"), ("backbone.", "classifier")])
def test_the_thesis_checkpoints(tmp_path: Path, prefix: str, kind: str) -> None:
    encoder, path = trained(), tmp_path / "original.ckpt"
    fc = projection_head(64, 64, 128) if prefix == "convnet." else nn.Linear(64, 8)
    state = under(prefix, encoder.state_dict()) | under(f"{prefix}fc.", fc.state_dict())
    torch.save({**LIGHTNING, "state_dict": state}, path)
    loaded = load_encoder_state(path)
    other = tiny(mean=MEAN, std=STD)
    assert f"the thesis's {kind} {path}" in load_weights(other, loaded)
    assert other.mean.flatten().tolist() == [0.5] * 3
    load_weights(encoder, loaded)  # both then use the same mean and std
    assert same(other, encoder)
    fc.load_state_dict(loaded.head)


def test_the_thesis_probe_has_no_encoder(tmp_path: Path) -> None:
    state = under("model.", nn.Linear(512, 8).state_dict())
    torch.save({**LIGHTNING, "state_dict": state}, tmp_path / "probe.ckpt")
    refused(tmp_path / "probe.ckpt", "probe holds a linear layer and no encoder")


@pytest.mark.parametrize("with_fc", [True, False])
@pytest.mark.parametrize("counters", [True, False], ids=["counters", "older than counters"])
@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file], ids=["torch", "safetensors"])
def test_torchvision_state_dicts(tmp_path: Path, with_fc: bool, counters: bool, save) -> None:
    network, path = torchvision.models.resnet18(), tmp_path / "resnet18.pth"
    state = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if (with_fc or not name.startswith("fc.")) and (counters or not name.endswith("num_batches_tracked"))
    }
    save(state, path)
    encoder = resnet(18)
    assert load_weights(encoder, load_encoder_state(path)).startswith(
        "resnet18 with the stock stem from the torchvision"
    )
    assert encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    network.fc = nn.Identity()
    images = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(encoder.eval()(images), network.eval()((images - encoder.mean) / encoder.std))


def with_old_keys(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The keys of torchvision's published DenseNet file: norm.1 for norm1, and no counters."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("old_keys", [False, True], ids=["keys", "old keys"])
def test_torchvisions_densenet(tmp_path: Path, old_keys: bool) -> None:
    torch.manual_seed(0)
    network, path, encoder = torchvision.models.densenet121().eval(), tmp_path / "densenet.pth", densenet121().eval()
    state = network.state_dict()
    torch.save(with_old_keys(state) if old_keys else state, path)
    assert ("features.denseblock1.denselayer1.norm.1.weight" in torch.load(path)) is old_keys
    assert load_weights(encoder, load_encoder_state(path)).startswith("densenet121 from the torchvision state dict")
    network.classifier = nn.Identity()
    check_torchvisions_features(encoder, network)


def test_torchvisions_convnext(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path, encoder = torchvision.models.convnext_tiny().eval(), tmp_path / "a.pth", convnext_tiny().eval()
    torch.save(network.state_dict(), path)
    assert load_weights(encoder, load_encoder_state(path)).startswith("convnext_tiny from the torchvision state dict")
    network.classifier[2] = nn.Identity()
    check_torchvisions_features(encoder, network)


def check_torchvisions_features(encoder: nn.Module, network: nn.Module) -> None:
    """Images of 64 px, where torchvision's maps are all of even size."""
    assert encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network((images - encoder.mean) / encoder.std)
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_files_of_the_first_release_load(tmp_path: Path) -> None:
    """Their metadata have no option; their encoders are ResNets."""
    encoder, path = trained(), tmp_path / "encoder.safetensors"
    state = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    metadata = {"weights_hash": weights_hash(state), "mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"}
    safetensors.torch.save_file(state, path, metadata)
    loaded = load_encoder_state(path)
    assert loaded.option is None
    other = tiny()
    load_weights(other, loaded)
    assert same(other, encoder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, trained(), {})
    encoder = resnet(18, stem="small")
    before = weights_hash(encoder.state_dict())
    refused(path, "expected weights of resnet18 with a 3x3 stem, found those of a ResNet of 1-1-1-1", encoder)
    assert weights_hash(encoder.state_dict()) == before
    torch.save(resnet(18).state_dict(), tmp_path / "stock.pth")
    refused(tmp_path / "stock.pth", "found those of resnet18 with the stock stem", encoder)
    torch.save(resnet(34).state_dict(), tmp_path / "deep.pth")
    refused(tmp_path / "deep.pth", "found those of resnet34 with the stock stem", resnet(18))


def test_weights_of_equal_shapes_for_another_stem_are_refused(tmp_path: Path) -> None:
    """The shapes do not show the stride of the first convolution; the recorded option does."""
    path, half, small = tmp_path / "encoder.safetensors", resnet(18, stem="half"), resnet(18, stem="small")
    set_option(half, {"name": "resnet18_half_stem", "stem": "half"})
    save_encoder(path, half, {})
    load_weights(small, load_encoder_state(path))  # a caller that records no option decides itself
    set_option(small, {"name": "resnet18_small_stem", "stem": "small"})
    refused(path, "expected weights of resnet18_small_stem .stem=small., found those of resnet18_half_stem", small)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_missing_and_extra_weights_are_refused(tmp_path: Path, change: str) -> None:
    state = dict(trained().state_dict())
    if change == "missing":
        del state["layer3.0.conv2.weight"]
    else:
        state["layer3.0.conv9.weight"] = torch.ones(1)
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "expected weights of")


def test_files_without_an_encoder(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for content, problem in (
        ({"weight": torch.ones(1)}, "no encoder found; the file holds weight"),
        ({"state_dict": 3}, "expected a state dict of tensors, found int"),
        ({}, "no encoder found; the file holds no tensors"),
        ({"a": "b"}, "expected a state dict of tensors, found a"),
    ):
        torch.save(content, path)
        refused(path, problem)
    safetensors.torch.save_file({"weight": torch.ones(1)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "no encoder found; the file holds weight")


@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file], ids=["torch", "safetensors"])
@pytest.mark.parametrize(
    ("prefix", "left"), [("module.", ""), ("model.encoder_q.", ""), ("module.convnet.", "convnet.")]
)
def test_an_unknown_prefix_is_reported_with_the_code_that_removes_it(
    tmp_path: Path, prefix: str, left: str, save
) -> None:
    path = tmp_path / "a.pth"
    state = {name: tensor.contiguous() for name, tensor in tiny().state_dict().items()}
    save(under(prefix, state) | {"fc.weight": torch.ones(1)}, path)
    refused(
        path,
        rf'unknown prefix \({prefix}conv1.weight\). Save .*removeprefix\("{prefix.removesuffix(left)}"\): tensor for',
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "header"])
def test_damaged_safetensors(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, trained(), {})
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[-100] ^= 1
    else:
        content[20] ^= 255
    path.write_bytes(content)
    refused(path, "not an intact checkpoint")


def test_hash_depends_on_the_weights_alone(tmp_path: Path) -> None:
    encoder = trained()
    state = encoder.state_dict()
    digest = weights_hash(state)
    save_encoder(tmp_path / "a.safetensors", encoder, {"x": "1"})
    torch.save({"state_dict": under("encoder.", state)}, tmp_path / "a.ckpt")
    assert weights_hash(load_encoder_state(tmp_path / "a.safetensors").state) == digest
    assert weights_hash(load_encoder_state(tmp_path / "a.ckpt").state) == digest
    assert weights_hash(dict(reversed(state.items()))) == digest
    assert weights_hash({name: tensor.contiguous() for name, tensor in state.items()}) == digest
    changed = dict(state)
    changed["conv1.weight"] = state["conv1.weight"].nextafter(torch.tensor(9.0))
    assert weights_hash(changed) != digest
    renamed = dict(state)
    renamed["conv2.weight"] = renamed.pop("conv1.weight")
    assert weights_hash(renamed) != digest
    assert weights_hash({"a": torch.zeros(4)}) != weights_hash({"a": torch.zeros(2, 2)})
    assert weights_hash({"a": torch.zeros(2)}) != weights_hash({"a": torch.zeros(2, dtype=torch.int32)})


def with_header(path: Path, **changes: str) -> None:
    """Change a file's metadata alone."""
    with safetensors.safe_open(path, "pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    safetensors.torch.save_file(state, path, metadata | changes)


@pytest.mark.parametrize("key", ["mean", "std", "encoder"])
def test_a_changed_header_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, trained(), {})
    with_header(path, **{key: '{"name": "other"}' if key == "encoder" else "[0.1, 0.1, 0.1]"})
    refused(path, "not an intact checkpoint")


def test_encoder_hash_covers_all_that_decides_the_features() -> None:
    encoder = trained()
    found = [encoder_hash(encoder)]
    assert encoder_hash(copy.deepcopy(encoder)) == found[0]
    for change in (
        lambda: encoder.std.fill_(0.1),
        lambda: encoder.mean.fill_(0.1),
        lambda: set_option(encoder, {"name": "other"}),
        lambda: next(encoder.parameters()).data.mul_(2),
    ):
        change()
        found.append(encoder_hash(encoder))
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        *(
            ("[0, 0, 0]", std)
            for std in ("[0, 1, 1]", "[-1, 1, 1]", "[NaN, 1, 1]", "[Infinity, 1, 1]", "[1e-50, 1, 1]")
        ),
        *((mean, "[1, 1, 1]") for mean in ("[NaN, 0, 0]", "[-Infinity, 0, 0]", "[1e50, 0, 0]", "[0, 0]")),
    ],
)
def test_statistics_that_cannot_normalise_are_one_line(tmp_path: Path, mean: str, std: str) -> None:
    state = {name: tensor.contiguous() for name, tensor in trained().state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "encoder.safetensors", {"mean": mean, "std": std})
    refused(tmp_path / "encoder.safetensors", r"expected three finite numbers each, std above 0\. Use another file\.")


def test_an_encoder_of_several_channels_is_loaded_by_an_equal_one_alone(tmp_path: Path) -> None:
    encoder = tiny(in_channels=4)
    set_option(encoder, {"name": "tiny", "in_channels": 4})
    save_encoder(tmp_path / "encoder.safetensors", encoder, {})
    other = tiny(in_channels=4)
    load_weights(other, load_encoder_state(tmp_path / "encoder.safetensors"))
    assert torch.equal(other.conv1.weight, encoder.conv1.weight)
    with pytest.raises(CheckpointError, match=r"found those of tiny \(in_channels=4\)") as error:
        load_weights(tiny(), load_encoder_state(tmp_path / "encoder.safetensors"))
    assert len(error.value.problems) == 1


def test_means_of_another_number_of_channels_are_one_line(tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in tiny().state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "encoder.safetensors", {"mean": "[0, 0]", "std": "[1, 1]"})
    with pytest.raises(CheckpointError, match="expected mean and std of 3 channels, found 2"):
        load_weights(tiny(), load_encoder_state(tmp_path / "encoder.safetensors"))


def test_the_usual_number_of_channels_is_not_recorded() -> None:
    encoder = tiny()
    set_option(encoder, {"name": "tiny"})
    before = encoder_hash(encoder)
    set_option(encoder, {"name": "tiny", "in_channels": 3})
    assert encoder_hash(encoder) == before, "encoders of earlier releases keep their hash"
