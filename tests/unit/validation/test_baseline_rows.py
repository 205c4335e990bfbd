"""What a baseline scores on each sample: the float model is compared with it in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from int8gate.validation.bootstrap import exchanged_drops, lower_drops, pair, quantile, unseen_loss
from int8gate.validation.metrics.registry import METRICS, metric
from int8gate.validation.noninferiority import non_inferiority

RNG = np.random.default_rng(0)
N = 40


def boxes(n: int, classes: int) -> np.ndarray:
    """Labels (n, 3, 5) of up to three objects."""
    low = RNG.uniform(0, 0.5, (n, 3, 2))
    labels = np.concatenate([RNG.integers(0, classes, (n, 3, 1)), low, low + 0.3], axis=-1)
    labels[RNG.random((n, 3)) < 0.3, 0] = -1
    return labels


def found(labels: np.ndarray, slots: int) -> np.ndarray:
    """Detections (n, slots, 6) of every object."""
    outputs = np.full((len(labels), slots, 6), -1.0)
    outputs[:, :3, 0], outputs[:, :3, 2:] = labels[..., 0], labels[..., 1:]
    outputs[:, :3, 1] = np.where(labels[..., 0] < 0, -1, 0.9)
    return outputs


def person(n: int) -> np.ndarray:
    places = RNG.uniform(0, 60, (n, 1, 17, 3))
    places[..., 2] = 2
    return np.concatenate([np.full((n, 1, 1), 900.0), places.reshape(n, 1, 51)], axis=-1)


def right_outputs(name: str):
    """Labels, and outputs that are right."""
    if name == "top1":
        labels = RNG.integers(0, 4, N)
        return labels, np.eye(5)[labels]
    if name == "mean_iou":
        labels = RNG.integers(0, 4, (N, 8, 8))
        return labels, np.eye(6)[labels]
    if name in ("psnr", "ssim"):
        labels = RNG.integers(0, 255, (N, 24, 24, 1)).astype(np.uint8)
        return labels, labels.astype(np.float32)
    if name.startswith("map"):
        labels = boxes(N, 8)
        return labels, found(labels, 4)  # fewer slots than classes
    labels = person(N)
    outputs = labels.copy()
    outputs[..., 0] = 0.9
    return labels, outputs


@pytest.mark.parametrize(
    "name", [*METRICS, "psnr", "ssim", "pck", "map_50", "map_50_95", "oks_ap", "oks_ap_50"]
)
def test_the_baseline_is_of_the_same_samples_and_scores_its_chance(name):
    score = metric(name)
    labels, outputs = right_outputs(name)
    rows = score.sample_statistics(outputs, labels)
    blind = score.baseline_statistics(labels, rows.shape[1])
    assert blind.shape == rows.shape
    if not name.startswith("map"):  # a row there has room for the most frequent classes alone
        assert score.score(blind) == pytest.approx(score.chance(labels))
    sources = np.arange(N)
    options = {"chance": score.score(blind), "distinct_outputs": N, "resamples": 199}
    for float_rows, is_worthless in ((rows, False), (blind, True)):
        result = non_inferiority(
            score, float_rows, float_rows, sources, 0.5, baseline_statistics=blind, **options
        )
        assert result.is_worthless is is_worthless


@pytest.mark.parametrize(("n", "is_significant"), [(4, False), (5, True)])
def test_five_sources_that_all_say_so_are_enough(n, is_significant):
    labels = np.zeros(n, int)
    right = metric("top1").sample_statistics(np.eye(2)[labels], labels)
    wrong = right * [0, 1]
    pairs = pair(metric("top1"), right, wrong, np.arange(n))
    drops = exchanged_drops(pairs, np.random.default_rng(0))
    assert (quantile(drops, 0.05) > 0) is is_significant
    lower = lower_drops(pairs, unseen_loss(pairs), np.random.default_rng(0))
    assert (quantile(lower, 0.05) > 0) is is_significant


@pytest.mark.parametrize("name", ["mean_iou", "map_50"])
def test_a_class_is_lost_alone(name):
    score = metric(name)
    labels, outputs = right_outputs(name)
    rows = score.sample_statistics(outputs, labels)
    right, wrong = score.lost(rows, 1)
    classes = np.flatnonzero(score.parts(rows).sum(axis=0))
    assert score.score(right) == 1
    assert score.score(wrong) == pytest.approx(1 - 1 / len(classes))
    assert score.score(score.lost(rows)[1]) == 0
