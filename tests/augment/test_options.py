from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from simclr_med.augment.sequence import Sequence, TwoViews
from simclr_med.build import instantiate_node

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))
CROP, BLUR, SHARP = "random_resized_crop", "gaussian_blur", "sharpness"


def option(name, mirror_p=0.5) -> Sequence:
    cfg = OmegaConf.create({"dataset": {"mirror_p": mirror_p}, "augmentation": OmegaConf.load(CONF / f"{name}.yaml")})
    assert cfg.augmentation.name == name
    return instantiate_node(cfg.augmentation)


def values(sequence: Sequence, name: str) -> dict:
    op = next(op for op in sequence.ops if op.name == name)
    return {**op.sample.keywords, **getattr(op.apply, "keywords", {})}


def test_every_sequence_of_the_design_is_an_option():
    assert {"greyscale", "light", "natural", "none", "novel", "simclr", "simple"} <= set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("count", "height", "width", "channels"),
    [(1, 28, 28, 3), (6, 28, 28, 1), (6, 28, 40, 3), (3, 64, 64, 3), (2, 128, 128, 1), (1, 224, 224, 3)],
)
def test_every_option_gives_views(make_pictures, name, count, height, width, channels):
    images = make_pictures(count, height, width)[..., :channels]
    views = TwoViews(option(name))(images, (0, 0, 0), (0, count), count)
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
        ("light", [CROP, "horizontal_flip"]),
        ("none", []),
    ],
)
def test_the_ops_and_their_order(name, ops):
    assert [op.name for op in option(name).ops] == ops


@pytest.mark.parametrize(
    ("name", "strength", "hue"), [("natural", 0.5, 0.1), ("simple", 0.5, 0.1), ("novel", 0.2, 0.04)]
)
def test_the_jitters_of_the_original(name, strength, hue):
    jitter = values(option(name), "color_jitter")
    assert jitter["p"] == 0.8
    torch.testing.assert_close(torch.tensor(jitter["bounds"][:3]), torch.tensor([[1 - strength, 1 + strength]] * 3))
    assert jitter["bounds"][3] == (-hue, hue)


@pytest.mark.parametrize("name", ["natural", "simple", "novel", "greyscale"])
def test_the_blur_and_crop_of_the_original(parity, name):
    sequence = option(name)
    blur = values(sequence, BLUR)
    assert parity.kernel_width(blur["kernel_per_side"], 28) == 9
    assert (blur["sigma"], blur["p"], blur["reference_side"], blur["above_side"]) == ((0.1, 2.0), 1.0, 28, 0)
    crop = values(sequence, CROP)
    assert (crop["scale"], crop["ratio"], crop["size"]) == ((0.08, 1.0), (3 / 4, 4 / 3), None)


def test_light_mirrors_only_where_labels_allow():
    assert values(option("light"), "horizontal_flip")["p"] == 0.5
    assert values(option("light", mirror_p=0.0), "horizontal_flip")["p"] == 0.0


@pytest.mark.parametrize("name", ["natural", "simple", "novel", "greyscale"])
def test_sequences_follow_pil(parity, make_pictures, generator, name):
    """Grey images, because PIL's 8-bit hue differs and equalisation and sharpness multiply the difference."""
    images = make_pictures(60)[3::6].repeat(6, 1, 1, 1)
    sequence = option(name)
    parameters = sequence.sample(len(images), 28, 28, generator)
    views = sequence(images.permute(0, 3, 1, 2) / 255, parameters)
    for op, row in zip(sequence.ops, parameters, strict=True):
        images = parity.pil_apply(op, images, row)
    deviation = parity.deviation(views, images)
    assert deviation.mean() < 0.2
    assert deviation.flatten().quantile(0.999) <= 12
