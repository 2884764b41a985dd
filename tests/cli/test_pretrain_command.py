"""The command that pretrains a missing encoder: its data set, its recipe, and its quoting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simclr_med import build
from simclr_med.cli.pretrain_command import with_command
from simclr_med.config.validate import validate_config
from simclr_med.errors import MissingEncoderError
from simclr_med.runs.identity import Init
from simclr_med.runs.run import open_run

Message = Callable[..., str]


@pytest.fixture
def message(composed: Callable[..., Any], tmp_path: Path) -> Message:
    """The first line of the error of a probe with these overrides, whose encoder is missing."""

    def word(*overrides: str, listed: tuple[str, ...] | None = None) -> str:
        cfg = validate_config(composed("stage=probe", f"paths.runs={tmp_path}", *overrides))
        with pytest.raises(MissingEncoderError) as error:
            build.instantiate_node(cfg.init)
        return with_command(error.value, cfg.plain, overrides if listed is None else listed).problems[0]

    return word


def pretrain(composed: Callable[..., Any], runs: Path, *overrides: str) -> Path:
    """A finished pretraining run."""
    cfg = validate_config(composed(f"paths.runs={runs}", *overrides))
    with open_run(cfg, "d", Init("random", "random")) as run:
        (run.folder / "encoder.safetensors").touch()
        run.finish({}, {}, {"encoder_hash": "h"})
    return run.folder


def test_command_names_the_recipe(message: Message) -> None:
    expected = "simclr-med stage=pretrain dataset=synthetic augmentation=microscopy encoder=tiny seed=7"
    assert message("dataset=synthetic", "encoder=tiny", "init.seed=7").endswith(f" Make one: {expected}")


def test_command_names_the_initial_weights(message: Message) -> None:
    further = message("dataset=synthetic", "init.start=bloodmnist")
    assert further.endswith("seed=0 init=pretrained init.dataset=bloodmnist")
    assert message("dataset=synthetic", "init.start=imagenet").endswith("seed=0 init=imagenet")


def test_command_names_the_file_of_the_initial_weights(
    message: Message, composed: Callable[..., Any], tmp_path: Path
) -> None:
    wanted = ("dataset=synthetic", "init.start=checkpoint", "init.seed=7")
    assert message(*wanted).endswith("seed=7 init=checkpoint init.path='<file>'")
    pretrain(composed, tmp_path, "dataset=synthetic", "init=checkpoint", "init.path='/w/my weights.pt'")
    assert message(*wanted).endswith("seed=7 init=checkpoint init.path='/w/my weights.pt'")


@pytest.mark.parametrize("option", ["parquet", "folder"])
def test_command_names_the_option_of_the_own_data_set(message: Message, option: str) -> None:
    line = message(f"dataset={option}", "dataset.path=/d/cells", listed=())
    assert f"stage=pretrain dataset={option} dataset.path=/d/cells augmentation=microscopy" in line


def test_command_quotes_overrides_of_the_own_data_set(message: Message) -> None:
    overrides = ("dataset=npz", "dataset.path=/d/my cells.npz")
    line = message(*overrides, listed=overrides)
    assert "stage=pretrain dataset=npz dataset.path='/d/my cells.npz' augmentation=microscopy" in line


def test_command_names_the_own_file_when_the_option_is_not_in_the_overrides(message: Message) -> None:
    line = message("dataset=npz", "dataset.path='/d/my cells.npz'", listed=())
    assert "stage=pretrain dataset=npz dataset.path='/d/my cells.npz' augmentation=microscopy" in line


def test_command_names_the_file_of_another_data_set(
    message: Message, composed: Callable[..., Any], cells: Path, tmp_path: Path
) -> None:
    pretrain(composed, tmp_path, "dataset=npz", f"dataset.path={cells}", "dataset.name=blood")
    line = message("dataset=synthetic", "init.dataset=blood", "init.augmentation=simple")
    assert f"stage=pretrain dataset=npz dataset.path={cells} dataset.name=blood augmentation=simple" in line


def test_command_names_the_size_of_another_data_set(message: Message) -> None:
    line = message("dataset=synthetic", "dataset.size=64", "init.dataset=pathmnist")
    assert "stage=pretrain dataset=pathmnist dataset.size=64 augmentation=microscopy" in line
