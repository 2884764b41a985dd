"""Images of several channels: pretraining, probe and finetuning use all of them; what cannot is one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simclr_med.config.validate import validate_config
from simclr_med.errors import ConfigError, DataError
from simclr_med.stages.network import build_sequence, check_channels

pytestmark = pytest.mark.usefixtures("small_pictures")
FOUR = "encoder.in_channels=4"
FAST = ("stage.epochs=1", "schedule.warmup_epochs=0")


@pytest.fixture
def stained(arrays, tmp_path: Path) -> Path:
    """A file of four channels. Only the last one shows the class: by its brightness."""
    data = arrays()
    for split in ("train", "val", "test"):
        last = np.full((*data[f"{split}_images"].shape[:3], 1), 20, np.uint8)
        last += 100 * data[f"{split}_labels"][:, :, None, None]
        data[f"{split}_images"] = np.concatenate([data[f"{split}_images"], last], axis=3)
    np.savez(tmp_path / "stained.npz", **data)
    return tmp_path / "stained.npz"


def test_every_channel_is_used(staged, result, stained: Path) -> None:
    pretrained = staged("pretrain", FOUR, "augmentation=channels", *FAST, path=stained)
    assert (pretrained / "figures" / "views.png").exists()
    start = (FOUR, f"init.run={pretrained}")
    probe = result(staged("probe", *start, path=stained))
    assert probe["metrics"]["test/auroc"] > 0.9, "the other channels are noise"
    words = (*start, "augmentation=light", "stage.min_steps=0", *FAST)
    tuned = staged("finetune", *words, path=stained)
    assert result(tuned)["metrics"]["train/images"] == 48
    tested = staged("test", f"stage.run={tuned}", path=stained)
    assert result(tested)["metrics"]["test/auroc"] == result(tuned)["metrics"]["test/auroc"]


def test_a_model_of_other_channels_is_one_line(staged, arrays, stained: Path, tmp_path: Path) -> None:
    probe = staged("probe", FOUR, "init=random", path=stained)
    for name, channels in {"rgb": 3, "grey": 1}.items():
        np.savez(tmp_path / f"{name}.npz", **arrays(channels=channels))
        for words in (
            ("test", f"stage.run={probe}"),
            ("predict", f"stage.run={probe}"),
            ("analyse", f"stage.run={probe}", "init=model"),
            ("distill", f"stage.teacher={probe}", *FAST),
        ):
            with pytest.raises(DataError) as error:
                staged(*words, path=tmp_path / f"{name}.npz")
            assert error.value.problems == (
                f"dataset={name}: the encoder takes images of 4 channels, found {channels}. Use images like those of "
                "its training.",
            )


def test_analyse_compares_the_key_with_the_images(staged, stained: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder.in_channels=3: dataset=stained has images with 4 channels"):
        staged("analyse", "init=random", "augmentation=channels", path=stained)


@pytest.mark.parametrize(
    ("found", "overrides", "problem"),
    [
        (
            4,
            [],
            "encoder.in_channels=3: dataset=cells has images with 4 channels. Add encoder.in_channels=4, or save RG",
        ),
        (
            5,
            ["encoder=densenet121"],
            "encoder=densenet121: dataset=cells has images with 5 channels. Add encoder=resnet18 encoder.in_ch",
        ),
        (3, [FOUR], "encoder.in_channels=4: dataset=cells has images with 3 channels. Remove it."),
        (1, ["encoder.in_channels=2"], "dataset=cells has images with 1 channel. Remove it."),
    ],
)
def test_another_number_of_channels_is_one_line(composed, found: int, overrides: list[str], problem: str) -> None:
    cfg: Any = validate_config(composed(*overrides))
    with pytest.raises(ConfigError) as error:
        check_channels(cfg, SimpleNamespace(name="cells", channels=found))  # type: ignore[arg-type]
    (line,) = error.value.problems
    assert problem in line


def test_grey_and_rgb_images_need_no_key(composed) -> None:
    cfg: Any = validate_config(composed())
    for channels in (1, 3):
        check_channels(cfg, SimpleNamespace(name="cells", channels=channels))  # type: ignore[arg-type]


def test_an_augmentation_of_colours_is_one_line(composed) -> None:
    cfg: Any = validate_config(composed(FOUR))
    stained: Any = SimpleNamespace(channels=4)
    with pytest.raises(ConfigError) as error:
        build_sequence(cfg, stained)
    (line,) = error.value.problems
    assert line == (
        "augmentation=microscopy: expected RGB images for color_jitter, random_grayscale, found "
        "4 channels. Use augmentation=channels, light or crop_flip."
    )
    for name in ("channels", "light", "crop_flip", "none"):
        build_sequence(validate_config(composed(FOUR, f"augmentation={name}")), stained)
