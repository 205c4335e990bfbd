"""Objects as points: the network's maps, what training aims at, the peaks that decoding finds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.families.centernet.decoding import LEAST_SCORE, MOST_DETECTIONS, decode
from int8gate.model_zoo.families.centernet.network import centernet
from int8gate.model_zoo.families.centernet.training import encode, loss
from int8gate.model_zoo.spec import Network

CLASSES = 3
TINY = Network("", (64, 96, 3), (64, 96), CLASSES)
CELLS = (16, 24)
SPEC = SimpleNamespace(network=lambda profile: TINY)


@st.composite
def labels(draw, most: int = 4) -> np.ndarray:
    """Labels (1, most, 5) of boxes whose centres lie two cells or more apart."""
    rows = np.full((1, most, 5), -1, np.float32)
    places = draw(
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=most, unique=True
        )
    )
    for row, (y, x) in zip(rows[0], places, strict=False):
        centre = np.array([y * 4, x * 4]) + draw(st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
        half = np.array(draw(st.tuples(st.floats(0.6, 3), st.floats(0.6, 3))))
        row[0] = draw(st.integers(0, CLASSES - 1))
        row[1:3] = (centre - half) / CELLS
        row[3:] = (centre + half) / CELLS
    return rows


def maps_of(targets: tuple) -> list[np.ndarray]:
    """Outputs of a network that has learned its targets."""
    heat, place, values = targets
    sure = np.clip(heat, 1e-4, 1 - 1e-4)
    regressed = np.zeros((len(heat), CELLS[0] * CELLS[1], 4), np.float32)
    for picture, cells, found in zip(regressed, place, values, strict=True):
        picture[cells[found[:, 4] > 0]] = found[found[:, 4] > 0, :4]
    regressed = regressed.reshape(len(heat), *CELLS, 4)
    return [np.log(sure / (1 - sure)), regressed[..., :2], regressed[..., 2:]]


@given(labels())
@settings(max_examples=40, deadline=None)
def test_decoding_undoes_encoding(label):
    found = decode(maps_of(encode(SPEC, label)), TINY)[0]
    sure = found[found[:, 1] > 0.99]
    real = label[0][label[0, :, 0] >= 0]
    np.testing.assert_allclose(
        sorted(np.delete(sure, 1, axis=1).tolist()), sorted(real.tolist()), atol=1e-4
    )


def reference_peaks(heat: np.ndarray) -> list[tuple]:
    """Score, class, row, column of cells that no neighbour of their class exceeds, or equals before
    them."""
    rows, columns, classes = heat.shape
    peaks = []
    for y in range(rows):
        for x in range(columns):
            for c in range(classes):
                near = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, c]
                first = np.argwhere(heat[near] == heat[near].max())[0]
                is_first = (first[0] + max(y - 1, 0), first[1] + max(x - 1, 0)) == (y, x)
                score = 1 / (1 + np.exp(-heat[y, x, c]))
                if is_first and score >= LEAST_SCORE:
                    peaks.append((score, c, y, x))
    return sorted(peaks, key=lambda peak: (-peak[0], peak[2], peak[3], peak[1]))


@given(seed=st.integers(0, 2**32), step=st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=25, deadline=None)
def test_peaks_are_those_of_plain_loops(seed, step):
    """With heat in steps, as int8 leaves it, too: plateaus have one centre."""
    rng = np.random.default_rng(seed)
    heat = rng.normal(-2, 3, (2, 7, 9, 2)).astype(np.float32)
    heat = np.round(heat / step) * np.float32(step) if step else heat
    sizes, offsets = rng.uniform(0, 4, (2, 7, 9, 2)), rng.uniform(0, 1, (2, 7, 9, 2))
    found = decode([heat, sizes, offsets], TINY)
    for picture, rows in zip(range(2), found, strict=True):
        peaks = reference_peaks(heat[picture])[:MOST_DETECTIONS]
        rows = rows[rows[:, 1] >= 0]
        assert len(rows) == len(peaks)
        for row, (score, category, y, x) in zip(rows, peaks, strict=True):
            assert row[0] == category
            assert row[1] == pytest.approx(score, rel=1e-4)
            middle = np.array([y, x]) + offsets[picture, y, x]
            half = sizes[picture, y, x] / 2
            box = np.clip(np.concatenate([middle - half, middle + half]) / [7, 9, 7, 9], 0, 1)
            np.testing.assert_allclose(row[2:], box, atol=1e-5)


@given(labels())
@settings(max_examples=25, deadline=None)
def test_heat_is_one_at_centres_and_falls_from_there(label):
    heat, place, values = encode(SPEC, label)
    assert heat.max() == 1
    assert (heat == 1).sum() == (values[0, :, 4] > 0).sum()
    for cell, row in zip(place[0], label[0], strict=True):
        if row[0] >= 0:
            y, x = divmod(int(cell), CELLS[1])
            assert heat[0, y, x, int(row[0])] == 1
            assert heat[0, y, x - 1, int(row[0])] < 1


@given(labels(), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_the_loss_is_least_for_the_targets_themselves(label, seed):
    targets = encode(SPEC, label)
    rng = np.random.default_rng(seed)
    right = maps_of(targets)
    wrong = [part + rng.normal(0, 1, part.shape).astype(np.float32) for part in right]
    losses = [
        float(
            loss(SPEC)(
                tuple(torch.from_numpy(np.float32(np.clip(part, -6, 6))) for part in parts),
                tuple(map(torch.from_numpy, targets)),
            )
        )
        for parts in (right, wrong)
    ]
    assert 0 <= losses[0] < losses[1]


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_maps_are_a_quarter_as_high_and_wide_and_channels_last(size):
    network = centernet((*size, 3), CLASSES, width=0.125).eval()
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, *size))
    quarter = [side // 4 for side in size]
    assert [tuple(part.shape) for part in maps] == [(2, *quarter, k) for k in (CLASSES, 2, 2)]
    found = decode([part.numpy() for part in maps], TINY)
    assert found.shape == (2, MOST_DETECTIONS, 6)


def test_an_input_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="100x64: sides must be multiples of 32"):
        centernet((100, 64, 3), CLASSES)


def test_a_few_steps_teach_it_two_pictures():
    """The gradient reaches every weight, and the loss goes down."""
    torch.manual_seed(0)
    network = centernet(TINY.input_shape, CLASSES, width=0.125)
    rng = np.random.default_rng(0)
    label = np.full((2, 2, 5), -1, np.float32)
    label[:, 0] = [[0, 0.2, 0.2, 0.5, 0.6], [2, 0.4, 0.3, 0.9, 0.8]]
    targets = tuple(map(torch.from_numpy, encode(SPEC, label)))
    images = torch.from_numpy(rng.normal(0, 1, (2, 3, *TINY.size)).astype(np.float32))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    history = []
    for _ in range(30):
        found = loss(SPEC)(network(images), targets)
        optimizer.zero_grad()
        found.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        history.append(float(found.detach()))
    assert history[-1] < 0.5 * history[0]
