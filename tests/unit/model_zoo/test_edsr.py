"""EDSR: its pairs in colour, the network, and its luminance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.colour_super_resolution import ColourPairs
from int8gate.calibration_data.synthetic.super_resolution import (
    SuperResolutionPairs,
    degrade,
    luminance,
    regions,
)
from int8gate.model_zoo.families.edsr.decoding import decode
from int8gate.model_zoo.families.edsr.network import MEAN, PixelShuffle, Steps, edsr
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.training.torch_super_resolution import COLOUR_SUPER_RESOLUTION

SPEC = model("edsr")
SPLITS = ("train", "calibration", "evaluation")
NARROW = {"blocks": 2, "features": 4}
seeds = st.integers(0, 2**32 - 1)


def pairs(split: str, size=(16, 16), count: int | None = 500) -> ColourPairs:
    return ColourPairs(split, size, count)


def network(seed: int = 0, **arguments):
    torch.manual_seed(seed)
    return edsr((16, 16, 3), **NARROW | arguments).eval()


def pixels(seed: int, size=(16, 12)):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (2, 3, *size))).float()


@given(st.sampled_from(SPLITS), st.integers(0, 499), st.sampled_from([(16, 16), (12, 20)]))
@example("train", 6, (16, 16))  # a difference of 3
@settings(max_examples=30, deadline=None)
def test_the_luminance_is_degraded_as_that_of_the_pairs_without_colour(split, index, size):
    """But for the rounding of three channels in place of one, and where the filter overshoots: at
    places of a few of the 3,000 pairs between its two passes, which no picture shows.
    """
    image, label = pairs(split, size).sample(index)
    assert image.shape == (*size, 3)
    assert label.shape == (2 * size[0], 2 * size[1], 1)
    assert image.dtype == label.dtype == np.uint8
    difference = np.abs(luminance(image).astype(int) - degrade(label)[..., 0])
    difference = difference[~((image == 0) | (image == 255)).any(axis=-1)]
    assert difference.max(initial=0) <= 6
    assert np.count_nonzero(difference > 2) <= 0.01 * image[..., 0].size


@given(st.sampled_from(SPLITS), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_pair_does_not_depend_on_how_many_there_are(split, index):
    few, many = pairs(split, count=100).sample(index), pairs(split, count=5000).sample(index)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_pairs_are_what_the_model_is_scored_on():
    evaluation = calibration_data.load(SPEC.data, "evaluation", (32, 32), 3)
    grey = SuperResolutionPairs("evaluation", (32, 32))
    assert len(evaluation) == len(np.unique(evaluation.sources)) >= 400
    assert abs(len(evaluation) - len(grey)) < 0.02 * len(grey)
    assert evaluation == pairs("evaluation", (32, 32), None)


def test_splits_share_no_region():
    held = {split: {r.tobytes() for r in regions(split, (32, 32), 3)} for split in SPLITS}
    assert not held["calibration"] & held["evaluation"]
    assert not held["train"] & (held["calibration"] | held["evaluation"])


def test_the_digest_tells_sets_apart():
    sets = [pairs("train"), pairs("evaluation"), pairs("train", count=3), pairs("train", (8, 8))]
    assert len({drawn.digest() for drawn in sets}) == 4
    assert pairs("train").digest() == pairs("train").digest()


def test_what_has_no_pairs_is_refused():
    with pytest.raises(ValueError, match="3 channels"):
        calibration_data.load("colour_super_resolution", "evaluation", (32, 32), 1)
    with pytest.raises(ValueError, match="smaller network input"):
        pairs("evaluation", (2000, 2000), None)


@given(st.sampled_from(SPLITS), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_an_exact_restoration_has_the_labels_luminance(split, index):
    drawn = pairs(split)
    restored = drawn.large(index)[None].astype(np.float32)
    found = decode([restored], SPEC.compact)
    np.testing.assert_array_equal(found[0], drawn.sample(index)[1])


def test_colours_beyond_the_range_are_clipped():
    found = decode([np.float32([[[[-90, -1, -0.4], [300, 255.4, 256]]]])], SPEC.compact)
    assert found.ravel().tolist() == [16, 235]


def test_tensors_are_named_and_shaped_as_in_the_authors_code():
    arguments = SPEC.full.arguments
    tensors = {k: tuple(v.shape) for k, v in edsr((8, 8, 3), **arguments).state_dict().items()}
    square, wanted = (64, 64, 3, 3), {"head.0": (64, 3, 3, 3)}
    wanted |= {f"body.{block}.body.{n}": square for block in range(16) for n in (0, 2)}
    wanted |= {"body.16": square, "tail.0.0": (256, 64, 3, 3), "tail.1": (3, 64, 3, 3)}
    wanted |= {"sub_mean": (3, 3, 1, 1), "add_mean": (3, 3, 1, 1)}
    biases = {f"{name}.bias": shape[:1] for name, shape in wanted.items()}
    assert tensors == {f"{name}.weight": shape for name, shape in wanted.items()} | biases


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_a_tail_that_adds_nothing_gives_the_mean_colour_or_the_picture(seed):
    picture = pixels(seed)
    for skip in (False, True):
        built = network(picture_skip=skip, unit=64.0)
        torch.nn.init.zeros_(built.tail[1].weight)
        torch.nn.init.zeros_(built.tail[1].bias)
        found = built(picture).detach().numpy()
        repeated = picture.numpy().repeat(2, axis=2).repeat(2, axis=3).transpose(0, 2, 3, 1)
        expected = repeated if skip else np.broadcast_to(255 * np.float32(MEAN), found.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(seeds, st.floats(1, 200))
@settings(max_examples=15, deadline=None)
def test_the_unit_changes_nothing_where_biases_go_with_it(seed, unit):
    plain, other = network(seed), network(seed, unit=unit)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.endswith("bias") and parameter.requires_grad:
                parameter /= unit
        one, two = plain(pixels(seed)), other(pixels(seed))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-2)


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_a_mirrored_picture_is_restored_mirrored(seed):
    """With mirrored kernels: pixel shuffle lays the four channels out as rows of squares."""
    plain, mirrored = network(seed, picture_skip=True), network(seed, picture_skip=True)
    with torch.no_grad():
        for parameter in mirrored.parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.flip(3))
        for parameter in mirrored.tail[0][0].parameters():  # (4 f, ...): f squares, row by row
            squares = parameter.unflatten(0, (NARROW["features"], 2, 2))
            parameter.copy_(squares.flip(2).flatten(0, 2))
        picture = pixels(seed)
        found, expected = mirrored(picture.flip(3)).flip(2), plain(picture)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)  # of 255


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_pixel_shuffle_is_that_of_pytorch(seed, features, height, width):
    torch.manual_seed(seed)
    x = torch.rand(2, 4 * features, height, width)
    assert torch.equal(PixelShuffle()(x), torch.nn.PixelShuffle(2)(x))


def test_the_mean_shift_is_not_trained():
    built = network().train()
    built(pixels(0)).sum().backward()
    still = {name for name, p in built.named_parameters() if p.grad is None}
    assert still == {f"{m}_mean.{kind}" for m in ("sub", "add") for kind in ("weight", "bias")}


@given(seeds, st.floats(0.1, 3))
@settings(max_examples=20, deadline=None)
def test_the_blur_of_training_is_some_steps_wide_and_gone_in_use(seed, steps):
    x, blur = pixels(seed), Steps(steps)
    assert torch.equal(blur.eval()(x), x)
    moved = (blur.train()(x) - x).abs().max()
    step = (x.max() - x.min()) / 255
    assert 0.3 * steps * step < moved <= 0.5 * steps * step * 1.001


def test_training_compares_with_the_large_picture():
    stage = COLOUR_SUPER_RESOLUTION.stages[0]
    few = type(stage)(epochs=1, samples=4)
    images, large = COLOUR_SUPER_RESOLUTION.draw(SPEC, "train", few)
    assert images.shape == (4, *SPEC.compact.size, 3)
    targets = torch.from_numpy(COLOUR_SUPER_RESOLUTION.encode(SPEC, large))
    loss = COLOUR_SUPER_RESOLUTION.loss(SPEC)
    assert float(loss(targets, targets)) == 0
    built = edsr(SPEC.compact.input_shape, **SPEC.compact.arguments)
    assert built(torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))).shape == (
        targets.shape
    )
