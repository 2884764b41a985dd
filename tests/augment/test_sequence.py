"""Properties of every op, and the views of a training step."""

from __future__ import annotations

import pickle

import pytest
import torch
from augmentation_conf import load_ops

from simclr_med.augment.geometry import random_resized_crop
from simclr_med.augment.sequence import OneView, Sequence, TwoViews, augmentation_generator, to_float

KEY = (0, 3, 17)


def test_to_float_scales_colour_and_repeats_grey(make_pictures):
    images = make_pictures(6, 28, 30)
    assert torch.equal(to_float(images).mul(255).round().to(torch.uint8), images.permute(0, 3, 1, 2))
    grey = to_float(images[..., :1])
    assert grey.shape == (6, 3, 28, 30)
    assert grey.dtype == torch.float32
    assert grey.is_contiguous()
    assert all(torch.equal(grey[:, c], to_float(images)[:, 0]) for c in range(3))


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 28, 28), torch.zeros(2, 28, 28, dtype=torch.uint8)])
def test_to_float_rejects_other_layouts(images):
    with pytest.raises(ValueError, match="expected uint8"):
        to_float(images)


@pytest.mark.parametrize("op", load_ops(), ids=lambda op: op.name)
def test_op_result_of_an_image_does_not_depend_on_its_batch(make_pictures, generator, op):
    images = to_float(make_pictures(24))
    before = images.clone()
    parameters = op.sample(24, 28, 28, generator)
    whole = op.apply(images, *parameters)
    assert torch.equal(images, before)
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    for rows in (slice(0, 7), slice(7, 24), slice(5, 6), slice(3, 3)):
        part = op.apply(images[rows], *(values[rows] for values in parameters))
        torch.testing.assert_close(part, whole[rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("op", load_ops(), ids=lambda op: op.name)
def test_op_results_lie_on_the_eight_bit_grid(make_pictures, generator, op):
    result = op.apply(to_float(make_pictures(24)), *op.sample(24, 28, 28, generator))
    assert torch.equal(result.mul(255).round().div(255), result)


def test_shares_of_a_batch_equal_the_whole_batch(make_pictures):
    images = make_pictures(30)
    views = TwoViews(Sequence(load_ops()))
    whole = views(images, KEY, (0, 30), 30)
    assert whole.shape == (60, 3, 28, 28)
    for start, stop in ((0, 15), (15, 30), (29, 30)):
        share = views(images[start:stop], KEY, (start, stop), 30)
        torch.testing.assert_close(share[: stop - start], whole[start:stop], atol=1e-6, rtol=0)
        torch.testing.assert_close(share[stop - start :], whole[30 + start : 30 + stop], atol=1e-6, rtol=0)


def test_views_differ_and_depend_on_the_key_alone(make_pictures):
    images = make_pictures(12)
    views = TwoViews(Sequence(load_ops()))
    first = views(images, KEY, (0, 12), 12)
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(first, views(images, KEY, (0, 12), 12))
    noise = slice(0, 12, 6)
    assert not any(torch.equal(one, two) for one, two in zip(first[:12][noise], first[12:][noise], strict=True))
    for other in ((1, 3, 17), (0, 4, 17), (0, 3, 18), (3, 0, 17)):
        assert not torch.equal(first, views(images, other, (0, 12), 12))


def test_views_do_not_depend_on_the_number_of_threads(make_pictures):
    images = make_pictures(64)
    views = TwoViews(Sequence(load_ops()))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(views(images, KEY, (0, 64), 64))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=0)


def test_generator_leaves_the_global_random_state_unchanged():
    state = torch.get_rng_state()
    augmentation_generator(KEY)
    assert torch.equal(torch.get_rng_state(), state)


def test_views_without_ops_are_the_images(make_pictures):
    images = make_pictures(10)
    assert torch.equal(OneView(Sequence([]))(images, KEY, (0, 10), 10), to_float(images))
    assert torch.equal(TwoViews(Sequence([]))(images, KEY, (0, 10), 10), to_float(images).repeat(2, 1, 1, 1))
    assert OneView(Sequence(load_ops()))(images[..., :1], KEY, (0, 10), 10).shape == (10, 3, 28, 28)


def test_crop_size_is_the_input_size_of_the_next_op(make_pictures, generator):
    sequence = Sequence([random_resized_crop((0.5, 1.0), (1.0, 1.0), 20), random_resized_crop((1.0, 1.0), (1.0, 1.0))])
    parameters = sequence.sample(4, 28, 40, generator)
    assert parameters[1][2].tolist() == [20] * 4
    assert sequence(to_float(make_pictures(4, 28, 40)), parameters).shape == (4, 3, 20, 20)


@pytest.mark.parametrize("rows", [(0, 3), (8, 12), (-1, 3)])
def test_rows_outside_the_batch_are_rejected(make_pictures, rows):
    with pytest.raises(ValueError, match="rows="):
        TwoViews(Sequence([]))(make_pictures(4), KEY, rows, 10)


def test_views_can_be_pickled(make_pictures):
    images = make_pictures(8)
    views = TwoViews(Sequence(load_ops()))
    copy = pickle.loads(pickle.dumps(views))
    assert torch.equal(copy(images, KEY, (0, 8), 8), views(images, KEY, (0, 8), 8))
    assert views.state_dict() == {}
    assert list(views.parameters()) == []


def test_views_do_not_depend_on_the_training_precision(make_pictures):
    views, images = TwoViews(Sequence(load_ops())), make_pictures(8, 28, 28)
    plain = views(images, KEY, (0, 8), 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views(images, KEY, (0, 8), 8), plain)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(views(images, KEY, (0, 8), 8), plain)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_partners_take_the_second_views(make_pictures):
    images, partners = make_pictures(12), make_pictures(24)[12:]
    views = TwoViews(Sequence(load_ops()))
    paired = views(images, KEY, (0, 12), 12, partners)
    assert torch.equal(paired[:12], views(images, KEY, (0, 12), 12)[:12])
    assert torch.equal(paired[12:], views(partners, KEY, (0, 12), 12)[12:])
    assert torch.equal(views(images, KEY, (0, 12), 12, images), views(images, KEY, (0, 12), 12))


def test_several_channels_stay_as_they_are():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    assert torch.equal(to_float(images), images.permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("op", [op for op in load_ops() if not op.needs_rgb], ids=lambda op: op.name)
def test_ops_treat_channels_alike(make_pictures, generator, op):
    """Each channel of five becomes what it would be as a grey image."""
    five = torch.cat([make_pictures(24), make_pictures(24).flip(0)[..., :2]], dim=3)
    parameters = op.sample(24, 28, 28, generator)
    result = op.apply(to_float(five), *parameters)
    for channel in range(5):
        alone = op.apply(to_float(five[..., channel : channel + 1]), *parameters)
        torch.testing.assert_close(result[:, channel], alone[:, 0], atol=1e-6, rtol=0)


def test_a_sequence_names_the_ops_that_need_colours():
    wanted = {"color_jitter", "random_grayscale", "equalize"}
    assert set(Sequence(load_ops()).colour_ops) == wanted
    assert Sequence([op for op in load_ops() if op.name not in wanted]).colour_ops == ()
