"""Encoders written to a file and read from every kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import torch
import torchvision
from torch import nn

from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import (
    encoder_metadata,
    load_encoder_state,
    load_weights,
    save_encoder,
    weights_hash,
)
from simclr_med.models.encoders import resnet, tiny
from simclr_med.models.heads import projection_head

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def trained():
    """An encoder whose every tensor differs from a new one's."""
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
    told = load_weights(other, load_encoder_state(path))
    assert told == f"a ResNet of 1-1-1-1 blocks with the stock stem, 8 channels wide from the encoder {path}"
    assert same(other, encoder)
    assert torch.equal(other.mean, encoder.mean)
    assert torch.equal(other.std, encoder.std)
    assert other.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_safetensors_holds_torchvisions_names_and_its_provenance(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, {"config_hash": "abc"})
    with safetensors.safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert names == set(encoder.state_dict())
    assert metadata["mean"], metadata["std"] == ("[0.1, 0.2, 0.3]", "[0.4, 0.5, 0.6]")
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


# The original's optimizer and loop states stand for what a Lightning 1.9 checkpoint holds besides its weights.
LIGHTNING = {
    "epoch": 9,
    "pytorch-lightning_version": "1.9.0",
    "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 5e-4}]}],
    "hyper_parameters": {"lr": 5e-4, "hidden_dim": 128},
    "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_path": "a.ckpt"}},
}


@pytest.mark.parametrize(("prefix", "kind"), [("convnet.", "pretraining"), ("backbone.", "classifier")])
def test_the_originals_checkpoints(tmp_path: Path, prefix: str, kind: str) -> None:
    encoder, path = trained(), tmp_path / "original.ckpt"
    fc = projection_head(64, 64, 128) if prefix == "convnet." else nn.Linear(64, 8)
    state = under(prefix, encoder.state_dict()) | under(f"{prefix}fc.", fc.state_dict())
    torch.save({**LIGHTNING, "state_dict": state}, path)
    loaded = load_encoder_state(path)
    other = tiny(mean=MEAN, std=STD)
    assert f"the original system's {kind} {path}" in load_weights(other, loaded)
    assert other.mean.flatten().tolist() == [0.5] * 3
    load_weights(encoder, loaded)  # so that both normalise alike
    assert same(other, encoder)
    fc.load_state_dict(loaded.head)


def test_the_originals_probe_holds_no_encoder(tmp_path: Path) -> None:
    state = under("model.", nn.Linear(512, 8).state_dict())
    torch.save({**LIGHTNING, "state_dict": state}, tmp_path / "probe.ckpt")
    refused(tmp_path / "probe.ckpt", "probe, a linear layer alone")


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


def test_another_network_is_named_and_leaves_the_encoder_alone(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, trained(), {})
    encoder = resnet(18, stem="small")
    before = weights_hash(encoder.state_dict())
    refused(path, "must fit the encoder, resnet18 with the small stem; it seems to be a ResNet of 1-1-1-1", encoder)
    assert weights_hash(encoder.state_dict()) == before
    torch.save(resnet(18).state_dict(), tmp_path / "stock.pth")
    refused(tmp_path / "stock.pth", "it seems to be resnet18 with the stock stem", encoder)
    torch.save(resnet(34).state_dict(), tmp_path / "deep.pth")
    refused(tmp_path / "deep.pth", "it seems to be resnet34 with the stock stem", resnet(18))


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_no_weight_too_few_or_too_many(tmp_path: Path, change: str) -> None:
    state = dict(trained().state_dict())
    if change == "missing":
        del state["layer3.0.conv2.weight"]
    else:
        state["layer3.0.conv9.weight"] = torch.ones(1)
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "must fit the encoder")


def test_files_without_an_encoder(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for content in ({"weight": torch.ones(1)}, {"state_dict": 3}, {}, {"a": "b"}):
        torch.save(content, path)
        refused(path, "must hold")
    safetensors.torch.save_file({"weight": torch.ones(1)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "must hold an encoder")


@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file], ids=["torch", "safetensors"])
@pytest.mark.parametrize(
    ("prefix", "left"), [("module.", ""), ("model.encoder_q.", ""), ("module.convnet.", "convnet.")]
)
def test_weights_under_another_name_are_told_with_what_leaves_it_out(
    tmp_path: Path, prefix: str, left: str, save
) -> None:
    path = tmp_path / "a.pth"
    state = {name: tensor.contiguous() for name, tensor in tiny().state_dict().items()}
    save(under(prefix, state) | {"fc.weight": torch.ones(1)}, path)
    refused(path, rf'not {prefix}conv1.weight. Save .*removeprefix\("{prefix.removesuffix(left)}"\): tensor for')


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
    refused(path, "must be a whole checkpoint")


def test_hash_is_of_the_weights_alone(tmp_path: Path) -> None:
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
