"""What a study does for one data set: its steps, their words, and what of its own command line goes where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from simclr_med.config.validate import checked
from simclr_med.stages.study import plan, shared_words

TYPED = [
    "stage=study",
    "stage.epochs=5",
    "dataset=synthetic",
    "augmentation=simclr",
    "+seed=3",
    "encoder=tiny",
    "overwrite=true",
]


def test_the_words_of_the_stage_stay_with_the_study() -> None:
    assert shared_words(TYPED) == ["dataset=synthetic", "augmentation=simclr", "+seed=3", "encoder=tiny"]
    assert shared_words(TYPED, without=("augmentation", "seed")) == ["dataset=synthetic", "encoder=tiny"]


def test_every_step_composes_and_looks_for_the_encoder_that_was_made(composed: Callable[..., DictConfig]) -> None:
    words = ["stage=study", "dataset=synthetic", "augmentation=simclr", "seed=3", "encoder=tiny", "stage.epochs=5"]
    cfg = checked(composed(*words))
    steps = plan(cfg, words, images=2000)
    found = [checked(composed(*step.words)) for step in steps]
    assert [one.stage.name for one in found] == ["pretrain", "probe", "probe", "finetune", "baseline", "report"]
    assert (found[0].augmentation.name, found[0].seed, found[0].stage.epochs) == ("simclr", 3, 5)
    for one in (found[1], found[3]):
        assert (one.init.name, one.init.augmentation, one.init.seed) == ("pretrained", "simclr", 3)
        assert one.augmentation.name != "simclr"
    assert found[2].init.name == found[4].init.name == "random"
    assert all(one.encoder.name == "tiny" for one in found[:5])


@pytest.mark.parametrize(
    ("images", "curve"), [(40, ["full"]), (101, [50, 100, "full"]), (2000, [50, 100, 250, "full"])]
)
def test_budgets_that_the_data_cannot_fill_are_left_out(
    composed: Callable[..., DictConfig], images: int, curve: list
) -> None:
    steps = plan(checked(composed("stage=study")), ["stage=study"], images)
    assert list(checked(composed(*steps[1].words)).stage.budgets) == curve


def test_a_longer_pretraining_is_told_to_take_longer(composed: Callable[..., DictConfig]) -> None:
    short, long = (plan(checked(composed("stage=study", f"stage.epochs={n}")), [], 100)[0] for n in (10, 20))
    assert (short.images, long.images) == (1000, 2000)
