"""What will bite is said once, with every sequence that does it, and nothing else is."""

from __future__ import annotations

import pytest

from simclr_med.stages.preview_checks import check_classes, check_sequence

FLIP = {"_target_": "simclr_med.augment.geometry.horizontal_flip", "p": 0.5}
UPSIDE_DOWN = {"_target_": "simclr_med.augment.geometry.vertical_flip", "p": 0.5}
QUARTERS = {"_target_": "simclr_med.augment.rotation.right_angle_rotation", "p": 0.75}
TURN = {"_target_": "simclr_med.augment.rotation.rotation", "degrees": 45.0}
CROP = {"_target_": "simclr_med.augment.geometry.random_resized_crop", "scale": [0.08, 1.0], "ratio": [0.75, 1.33]}
JITTER = {"_target_": "simclr_med.augment.color.color_jitter", "brightness": 0.5, "saturation": 0.5, "hue": 0.1}
GRAY = {"_target_": "simclr_med.augment.color.random_grayscale", "p": 0.2}
WEAK = {**JITTER, "saturation": 0.0, "hue": 0.0}


def message(*ops: dict, side: int = 224, grey: bool = False, mirror_p: float = 0.5) -> list[str]:
    return check_sequence({"one": ops}, side, grey, mirror_p)


def test_nothing_bites_large_images_in_colour_that_may_be_mirrored() -> None:
    assert message(FLIP, UPSIDE_DOWN, QUARTERS, TURN, CROP, JITTER, GRAY) == []


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("flip", [FLIP, UPSIDE_DOWN])
def test_flips_where_left_and_right_differ(flip: dict, p: float) -> None:
    found = message({**flip, "p": p}, mirror_p=0.0)
    assert [line.startswith("one: mirrors images whose left and right differ") for line in found] == [True] * (p > 0)


@pytest.mark.parametrize(
    ("op", "bites"),
    [(QUARTERS, True), (TURN, True), ({**TURN, "degrees": 10.0}, False), ({**QUARTERS, "p": 0.0}, False)],
)
def test_turns_where_left_and_right_differ(op: dict, bites: bool) -> None:
    found = message(op, mirror_p=0.0)
    assert [line.startswith("one: turns images whose left and right differ") for line in found] == [True] * bites


@pytest.mark.parametrize(("op", "bites"), [(JITTER, True), (GRAY, True), (WEAK, False), (FLIP, False)])
def test_colour_ops_on_grey_images(op: dict, bites: bool) -> None:
    assert len(message(op, grey=True)) == bites


@pytest.mark.parametrize(
    ("side", "low", "words"), [(28, 0.08, ("8 px a side", "5% of them")), (28, 0.13, ()), (64, 0.08, ())]
)
def test_crops_under_ten_pixels(side: int, low: float, words: tuple[str, ...]) -> None:
    found = message({**CROP, "scale": [low, 1.0]}, side=side)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


def test_a_crop_of_one_size() -> None:
    assert "100% of them" in message({**CROP, "scale": [0.08, 0.08]}, side=28)[0]


def test_each_caution_names_all_its_sequences_once() -> None:
    found = check_sequence({"one": [CROP, JITTER, GRAY], "two": [CROP], "three": [FLIP]}, 28, True, 0.5)
    assert [line.split(":")[0] for line in found] == ["one, two", "one"]


def test_classes_with_few_training_images() -> None:
    (line,) = check_classes(["a", "b", "c"], [9, 10, 0], "n100")
    assert line.startswith("a (9), c (0): have fewer than 10 training images in data_fraction=n100;")
    assert check_classes(["a"], [10], "full") == []
