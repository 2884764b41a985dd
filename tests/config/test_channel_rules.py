"""Channels of images: what does not fit is one line before anything runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from simclr_med.config.channel_rules import input_channels
from simclr_med.config.validate import find_problems, validate_config
from simclr_med.runs.identity import scientific_config

Compose = Callable[..., DictConfig]
FIVE = "encoder.in_channels=5"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            [FIVE, "init=imagenet"],
            "init=imagenet: its weights take RGB images, and encoder.in_channels=5. Use init=random",
        ),
        (
            [FIVE, "encoder.mean=[0.1,0.2,0.3]"],
            "encoder.mean=[0.1, 0.2, 0.3]: expected 5 finite numbers, one for each ch",
        ),
        (
            [FIVE, "encoder.std=[1,1,1,1,0]"],
            "encoder.std=[1.0, 1.0, 1.0, 1.0, 0.0]: expected 5 finite numbers > 0, one",
        ),
        (["encoder.in_channels=1"], "encoder.in_channels=1: expected an integer >= 2 and <= 16."),
        (["encoder.in_channels=17"], "encoder.in_channels=17: expected an integer >= 2 and <= 16."),
    ],
)
def test_what_does_not_fit_is_one_line(composed: Compose, overrides: list[str], problem: str) -> None:
    (found,) = find_problems(composed(*overrides))
    assert found.startswith(problem)


@pytest.mark.parametrize("more", [[], ["encoder.mean=[0.1,0.2,0.3,0.4,0.5]"], ["encoder.std=[0.2]"]])
def test_what_fits(composed: Compose, more: list[str]) -> None:
    cfg = composed(FIVE, *more)
    assert not find_problems(cfg)
    assert input_channels(validate_config(cfg).encoder) == 5


def test_an_encoder_without_the_key_takes_three(composed: Compose) -> None:
    assert input_channels(validate_config(composed("encoder=densenet121")).encoder) == 3


def test_the_default_is_no_part_of_the_identity(composed: Compose) -> None:
    usual, five = (scientific_config(validate_config(composed(*more)).plain)["encoder"] for more in ([], [FIVE]))
    assert "in_channels" not in usual
    assert five["in_channels"] == 5
