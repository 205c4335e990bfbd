"""CPN: its decoding, the targets and losses of its training, the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.synthetic.single_figures import SingleFigures
from int8gate.model_zoo.families.cpn.decoding import STRIDE, decode, peaks
from int8gate.model_zoo.families.cpn.network import cpn
from int8gate.model_zoo.families.cpn.training import CPN, HARDEST, SHARE, SIGMAS
from int8gate.model_zoo.registry import model
from int8gate.validation.metrics.pck import PCK

SPEC = model("cpn")
NETWORK = SPEC.compact
MAP = tuple(side // STRIDE for side in NETWORK.size)
NARROW = {"features": 8, "embedding_size": 8, "hidden_sizes": (8, 16, 16, 16), "depths": (1,) * 4}
seeds = st.integers(0, 2**32 - 1)


def gaussians(places: np.ndarray, size=MAP, sigma: float = 1.4) -> np.ndarray:
    """Heatmaps (n, h, w, k) of peak 1 around places (n, k, 2)."""
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    away = grid[None, :, :, None] - places[:, None, None]
    return np.exp(-np.square(away).sum(axis=-1) / (2 * sigma**2)).astype(np.float32)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_decoding_finds_a_gaussian_to_less_than_half_a_place(seed):
    """A quarter towards the second peak leaves at most half a place on either axis.

    At the border, where smoothing sees one side of the Gaussian alone, a little more is left.
    """
    places = np.random.default_rng(seed).uniform(4, np.array(MAP) - 5, (3, 17, 2))
    person = decode([gaussians(places)], NETWORK)
    assert person.shape == (3, 1, 52)
    assert person.dtype == np.float32
    pixels = person[:, 0, 1:].reshape(3, 17, 3)[..., :2]
    wrong = np.abs(pixels - ((places + 0.5) * STRIDE - 0.5)) / STRIDE
    assert wrong.max() <= 0.5 + 1e-4
    assert wrong.mean() < 0.25  # that of the highest place alone


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_offset_brings_a_point_nearer_along_its_axis(seed):
    """Between two places of a row, a quarter towards the nearer neighbour."""
    rng = np.random.default_rng(seed)
    middle, away = rng.integers(3, 12), rng.uniform(0.05, 0.45) * rng.choice((-1, 1))
    points, place = peaks(gaussians(np.array([[[middle, middle + away]]]), (16, 16)))
    assert points[0, 0].tolist() == [middle, middle + 0.25 * np.sign(away)]
    assert place[0, 0] == 16 * middle + middle


def test_scores_are_the_peaks_and_never_negative():
    heatmaps = gaussians(np.full((1, 17, 2), 10.0))
    heatmaps[..., 1] -= 2
    row = decode([heatmaps], NETWORK)[0, 0]
    assert row[3::3].tolist() == [1, 0] + [1] * 15
    assert row[0] == pytest.approx(16 / 17)


def test_equal_values_are_decoded_to_a_place_inside():
    row = decode([np.zeros((1, *MAP, 17), np.float32)], NETWORK)[0, 0]
    assert np.isfinite(row).all()
    assert (row[1:].reshape(17, 3)[:, :2] >= 0).all()


@pytest.mark.parametrize("shape", [(1, 17, *MAP), (1, *MAP, 16), (1, MAP[0] + 1, MAP[1], 17)])
def test_other_heatmaps_are_refused(shape):
    with pytest.raises(ValueError, match="channels last"):
        decode([np.zeros(shape)], NETWORK)


@given(st.integers(0, 300))
@settings(max_examples=10, deadline=None)
def test_targets_are_decoded_to_the_labels(index):
    """What training aims at scores full marks."""
    _, labels = next(SingleFigures("train", NETWORK.size, 3, 400).batches(1, np.array([index])))
    targets = CPN.encode(SPEC, labels)
    rows = PCK.sample_statistics(decode([gaussians(targets[..., :2])], NETWORK), labels)
    assert PCK.score(rows) == 1


def test_the_loss_of_the_targets_is_none_and_that_of_the_hardest_counts():
    loss = CPN.loss(SPEC)
    rng = np.random.default_rng(0)
    targets = np.dstack([rng.uniform(8, 20, (2, 17, 2)), np.ones((2, 17))]).astype(np.float32)
    exact = [torch.from_numpy(gaussians(targets[..., :2], sigma=sigma)) for sigma in SIGMAS]
    wanted = torch.from_numpy(targets)
    assert float(loss(tuple(exact), wanted)) == pytest.approx(0, abs=1e-8)
    wrong = [maps.clone() for maps in exact]
    wrong[0][0, 0, 0, :3] += 1  # three keypoints of one of two people, by 1
    assert float(loss(tuple(wrong), wanted)) == pytest.approx(SHARE * 3 / HARDEST / 2, rel=1e-4)
    assert float(loss(wrong[0], wanted)) == pytest.approx(SHARE * 3 / HARDEST / 2, rel=1e-4)
    wrong = [maps.clone() for maps in exact]
    wrong[2][0, 0, 0, :3] += 1
    assert float(loss(tuple(wrong), wanted)) == pytest.approx(SHARE * 3 / 17 / 2, rel=1e-4)


def test_keypoints_that_are_not_labelled_have_no_loss():
    loss = CPN.loss(SPEC)
    targets = np.zeros((1, 17, 3), np.float32)
    heatmaps = torch.rand(1, *MAP, 17)
    assert float(loss((heatmaps,) * 5, torch.from_numpy(targets))) == 0


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (96, 160)])
def test_heatmaps_are_a_quarter_of_the_input(size):
    network = cpn((*size, 3), 17, **NARROW).eval()
    with torch.no_grad():
        found = network(torch.zeros(2, 3, *size))
    assert found.shape == (2, size[0] // STRIDE, size[1] // STRIDE, 17)


def test_the_backbone_computes_what_the_library_does():
    network = cpn((64, 64, 3), 5, **NARROW).eval()
    library = type(network.backbone)(network.backbone.config).eval()
    library.load_state_dict(network.backbone.state_dict())
    picture = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        found, expected = (b(picture).feature_maps for b in (network.backbone, library))
    for own, theirs in zip(found, expected, strict=True):
        assert torch.equal(own, theirs)


def test_training_sees_the_heatmaps_of_every_level():
    network = cpn((64, 64, 3), 5, **NARROW).train()
    outputs = network(torch.zeros(2, 3, 64, 64))
    assert [tuple(maps.shape) for maps in outputs] == [(2, 16, 16, 5)] * 5


def test_every_weight_learns():
    network = cpn(NETWORK.input_shape, 17, **NARROW).train()
    images, labels = next(SingleFigures("train", NETWORK.size, 3, 4).batches(4))
    pixels = torch.from_numpy(SPEC.preprocessing.apply(images).transpose(0, 3, 1, 2).copy())
    CPN.loss(SPEC)(network(pixels), torch.from_numpy(CPN.encode(SPEC, labels))).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_profiles_have_the_same_topology():
    narrow, full = (
        [type(layer).__name__ for layer in cpn(n.input_shape, n.classes, **n.arguments).modules()]
        for n in (SPEC.compact, SPEC.full)
    )
    assert narrow == full
