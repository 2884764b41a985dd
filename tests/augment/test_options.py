"""The options of conf/augmentation: every option works, and the published ones have the published values."""

from __future__ import annotations

import pytest
import torch
from augmentation_conf import OPTIONS, load_sequence

from simclr_med.augment.sequence import Sequence, TwoViews

CROP, BLUR, SHARP = "random_resized_crop", "gaussian_blur", "sharpness"
TURNS = ("right_angle_rotation", "rotation")
THESIS_SEQUENCES = ("natural", "simple", "novel", "greyscale")


def get_op_arguments(sequence: Sequence, name: str) -> dict:
    """Return the arguments that the sequence gives to one of its ops."""
    op = next(op for op in sequence.ops if op.name == name)
    return {**op.sample.keywords, **getattr(op.apply, "keywords", {})}


def test_published_options_exist():
    assert {*THESIS_SEQUENCES, "simclr", "byol", "microscopy", "xray", "light", "none"} <= set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("count", "height", "width", "channels"),
    [(1, 28, 28, 3), (6, 28, 28, 1), (6, 28, 40, 3), (3, 64, 64, 3), (2, 128, 128, 1), (1, 224, 224, 3)],
)
def test_every_option_makes_views_in_range(make_pictures, name, count, height, width, channels):
    images = make_pictures(count, height, width)[..., :channels]
    views = TwoViews(load_sequence(name))(images, (0, 0, 0), (0, count), count)
    assert views.shape == (2 * count, 3, height, width)
    assert views.dtype == torch.float32
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert channels == 3 or torch.equal(views, views[:, :1].expand_as(views))


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("natural", ["horizontal_flip", CROP, "color_jitter", "random_grayscale", BLUR]),
        ("simple", [CROP, "color_jitter", BLUR]),
        ("novel", ["horizontal_flip", CROP, "color_jitter", "random_grayscale", BLUR, "equalize", SHARP]),
        ("greyscale", ["horizontal_flip", CROP, BLUR, "equalize", SHARP]),
        ("simclr", [CROP, "horizontal_flip", "color_jitter", "random_grayscale", BLUR]),
        ("byol", [CROP, "horizontal_flip", "color_jitter", "random_grayscale", BLUR, "solarize"]),
        (
            "microscopy",
            [*TURNS, CROP, "horizontal_flip", "vertical_flip", "color_jitter", "random_grayscale", BLUR],
        ),
        ("xray", ["rotation", CROP, "color_jitter", "gaussian_noise", "random_erasing"]),
        ("channels", [*TURNS, CROP, "horizontal_flip", "vertical_flip", "channel_jitter", BLUR]),
        ("light", [CROP, "horizontal_flip"]),
        ("none", []),
    ],
)
def test_published_sequences_have_the_published_ops_in_order(name, ops):
    assert [op.name for op in load_sequence(name).ops] == ops


@pytest.mark.parametrize(
    ("name", "strength", "hue"), [("natural", 0.5, 0.1), ("simple", 0.5, 0.1), ("novel", 0.2, 0.04)]
)
def test_color_jitter_has_the_strengths_of_the_thesis(name, strength, hue):
    jitter = get_op_arguments(load_sequence(name), "color_jitter")
    assert jitter["p"] == 0.8
    torch.testing.assert_close(torch.tensor(jitter["bounds"][:3]), torch.tensor([[1 - strength, 1 + strength]] * 3))
    assert jitter["bounds"][3] == (-hue, hue)


@pytest.mark.parametrize("name", THESIS_SEQUENCES)
def test_blur_and_crop_have_the_values_of_the_thesis(parity, name):
    sequence = load_sequence(name)
    blur = get_op_arguments(sequence, BLUR)
    assert parity.compute_kernel_width(blur["kernel_per_side"], 28) == 9
    assert (blur["sigma"], blur["p"], blur["reference_side"], blur["above_side"]) == ((0.1, 2.0), 1.0, 28, 0)
    crop = get_op_arguments(sequence, CROP)
    assert (crop["scale"], crop["ratio"], crop["size"]) == ((0.08, 1.0), (3 / 4, 4 / 3), None)


def test_microscopy_turns_by_any_angle():
    sequence = load_sequence("microscopy")
    assert get_op_arguments(sequence, "rotation") == {"degrees": 45.0, "p": 1.0}


def test_microscopy_mirrors_and_turns_with_the_probability_of_the_data_set():
    for op in ("right_angle_rotation", "horizontal_flip", "vertical_flip"):
        assert get_op_arguments(load_sequence("microscopy"), op)["p"] == 0.5
        assert get_op_arguments(load_sequence("microscopy", mirror_p=0.0), op)["p"] == 0.0


def test_xray_keeps_left_and_right_and_adds_no_colour():
    assert not [op.name for op in load_sequence("xray").ops if "flip" in op.name or "right_angle" in op.name]
    jitter = get_op_arguments(load_sequence("xray"), "color_jitter")
    assert (jitter["bounds"][2], jitter["bounds"][3]) == ((1.0, 1.0), (0.0, 0.0))


def test_light_flips_with_the_probability_of_the_data_set():
    assert get_op_arguments(load_sequence("light"), "horizontal_flip")["p"] == 0.5
    assert get_op_arguments(load_sequence("light", mirror_p=0.0), "horizontal_flip")["p"] == 0.0


@pytest.mark.parametrize("name", THESIS_SEQUENCES)
def test_thesis_sequences_are_close_to_pil(parity, make_pictures, generator, name):
    """The images are grey: PIL's 8-bit hue differs, and equalisation and sharpness multiply the difference."""
    images = make_pictures(60)[3::6].repeat(6, 1, 1, 1)
    sequence = load_sequence(name)
    parameters = sequence.sample(len(images), 28, 28, generator)
    views = sequence(images.permute(0, 3, 1, 2) / 255, parameters)
    for op, row in zip(sequence.ops, parameters, strict=True):
        images = parity.apply_pil(op, images, row)
    deviation = parity.compute_deviation(views, images)
    assert deviation.mean() < 0.2
    assert deviation.flatten().quantile(0.999) <= 12
