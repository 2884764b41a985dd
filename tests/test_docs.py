"""Every command that a document shows composes, and its Python runs."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from simclr_med.cli.help import FIRST
from simclr_med.config.validate import find_problems
from simclr_med.models.encoder_files import save_encoder
from simclr_med.models.encoders import resnet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """The `simclr-med ...` lines of the README's blocks and of the help text."""
    blocks = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)
    text = "\n".join([*blocks, re.sub(r"(\S)   .*", r"\1", FIRST)])
    return sorted({line.strip() for line in text.splitlines() if line.strip().startswith("simclr-med ")})


@pytest.mark.parametrize("line", commands())
def test_command_composes(composed, line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "-m"]
    # A comma outside brackets separates the values of a sweep.
    parts = [(word.split("=", 1)[0], re.split(r",(?![^\[]*\])", word.split("=", 1)[1])) for word in words]
    choices = [[f"{key}={value}" for value in values] for key, values in parts]
    for overrides in itertools.product(*choices):
        assert find_problems(composed(*overrides)) == []


def test_there_are_commands() -> None:
    assert len(commands()) >= 8


def test_the_encoder_loads_in_plain_torchvision(tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    ours = resnet(18).eval()
    save_encoder(tmp_path / "encoder.safetensors", ours, {})
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    theirs = names["encoder"]
    assert type(theirs) is torchvision.models.ResNet
    images = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()((images - 0.5) / 0.5), ours(images), atol=1e-5, rtol=1e-5)


def test_the_encoder_file_is_the_same_bytes_each_time(tmp_path) -> None:
    torch.manual_seed(0)
    ours = resnet(18)
    for name in ("one", "two"):
        save_encoder(tmp_path / name, ours, {"b": "1", "a": "2", "c": "3"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safetensors.safe_open(tmp_path / "one", "pt") as file:
        assert file.metadata()["b"] == "1"


def test_groups_of_the_readme_are_those_of_conf() -> None:
    table = {
        name: set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", cells))))
        for names, cells in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \| (.*) \|$", README, flags=re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", names)
    }
    for group in ("dataset", "augmentation", "encoder", "init", "data_fraction", "optimizer", "trainer", "logger"):
        options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        assert options <= table[group], group
