"""PCK: the laws of the metric, and what the statistics of a case need of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.synthetic.single_figures import SingleFigures
from int8gate.validation.metrics.pck import ALPHA, KEYPOINTS, PCK
from int8gate.validation.noninferiority import non_inferiority

seeds = st.integers(0, 2**32 - 1)
TORSO = (5, 6, 11, 12)  # shoulders and hips


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return next(SingleFigures("calibration", (128, 96), 3, 60).batches(60))[1]


def people(seed: int, n: int = 5) -> np.ndarray:
    """Labels (n, 1, 52) of random places, all visible."""
    places = np.random.default_rng(seed).uniform(0, 100, (n, KEYPOINTS, 2))
    rows = np.concatenate([places, np.full((n, KEYPOINTS, 1), 2.0)], axis=-1)
    return np.column_stack([np.full(n, 900.0), rows.reshape(n, -1)])[:, None]


def found(labels: np.ndarray, shift: np.ndarray | float = 0.0, score: float = 0.5) -> np.ndarray:
    """Predictions at the labels' places, moved by `shift` (..., 17, 2) pixels."""
    outputs = labels.astype(np.float64).copy()
    outputs[..., 0] = score
    outputs[..., 1:].reshape(len(labels), 1, KEYPOINTS, 3)[..., :2] += shift
    return outputs


def diameter(label: np.ndarray) -> float:
    """Of one person (1, 52), by the definition."""
    points = label[0, 1:].reshape(KEYPOINTS, 3)[:, :2]
    return max(np.hypot(*(points[5] - points[12])), np.hypot(*(points[6] - points[11])))


def score(outputs, labels) -> float:
    return PCK.score(PCK.sample_statistics(outputs, labels))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_exact_predictions_score_one(seed):
    labels = people(seed)
    assert score(found(labels), labels) == 1


@given(seeds, st.floats(0, 2 * np.pi), st.floats(0.01, 0.4))
@settings(max_examples=60, deadline=None)
def test_a_keypoint_is_correct_within_a_fifth_of_the_torso(seed, angle, share):
    labels = people(seed)
    if abs(share - ALPHA) < 1e-6:
        return
    size = np.array([diameter(label) for label in labels])
    shift = share * size[:, None, None, None] * np.array([np.sin(angle), np.cos(angle)])
    assert score(found(labels, shift), labels) == (share < ALPHA)


@given(seeds, st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_the_score_does_not_depend_on_scale_and_place(seed, factor, shift):
    labels = people(seed)
    outputs = found(labels, np.random.default_rng(seed).normal(0, 8, (5, 1, KEYPOINTS, 2)))
    before = score(outputs, labels)
    for rows in (outputs, labels):
        places = rows[..., 1:].reshape(len(rows), 1, KEYPOINTS, 3)[..., :2]
        places *= factor
        places += shift
    assert score(outputs, labels) == pytest.approx(before, abs=1.01 / (5 * KEYPOINTS))


@given(seeds, st.integers(0, KEYPOINTS - 1))
@settings(max_examples=30, deadline=None)
def test_keypoints_that_are_not_labelled_do_not_count(seed, keypoint):
    labels = people(seed, 1)
    labels[0, 0, 1 + 3 * keypoint : 4 + 3 * keypoint] = 0
    shift = np.zeros((KEYPOINTS, 2))
    shift[keypoint] = 1000
    assert PCK.sample_statistics(found(labels, shift), labels).tolist() == [[16, 16]]


def test_a_person_without_a_torso_does_not_count():
    labels = people(0, 3)
    for keypoint in TORSO[:3]:
        labels[0, 0, 3 + 3 * keypoint] = 0
    rows = PCK.sample_statistics(found(labels), labels)
    assert rows.tolist() == [[0, 0], [17, 17], [17, 17]]
    assert PCK.score(rows) == 1


def test_one_diagonal_is_enough():
    labels = people(0, 1)
    labels[0, 0, 3 + 3 * TORSO[0]] = 0
    assert PCK.sample_statistics(found(labels), labels).tolist() == [[16, 16]]


def test_the_best_scored_person_counts():
    labels = people(1)
    right, wrong = found(labels, score=0.4), found(labels, 1000.0, score=0.3)
    padding = np.full_like(right, -1)
    assert score(np.concatenate([wrong, padding, right], axis=1), labels) == 1
    right[..., 0] = 0.2
    assert score(np.concatenate([wrong, padding, right], axis=1), labels) == 0
    assert score(padding, labels) == 0


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_weight_is_how_often_a_sample_counts(seed):
    labels = people(seed)
    rng = np.random.default_rng(seed)
    rows = PCK.sample_statistics(found(labels, rng.normal(0, 15, (5, 1, KEYPOINTS, 2))), labels)
    weights = rng.integers(0, 4, (3, 5))
    weights[:, 0] += 1
    repeated = [PCK.score(rows.repeat(row, axis=0)) for row in weights]
    np.testing.assert_allclose(PCK.score(rows, weights.astype(float)), repeated)


def test_chance_is_what_a_fixed_pose_reaches(labels):
    chance = PCK.chance(labels)
    median = np.broadcast_to(np.median(labels, axis=0), labels.shape)
    several = [np.broadcast_to(labels[k], labels.shape) for k in range(0, 60, 6)]
    assert 0.1 < chance < 0.8
    assert all(score(found(pose), labels) <= chance for pose in (median, *several))


def test_chance_of_one_pose_repeated_is_one():
    assert PCK.chance(np.repeat(people(3, 1), 9, axis=0)) == 1


def test_lost_is_all_and_nothing(labels):
    rows = PCK.sample_statistics(found(labels, 4.0), labels)
    right, wrong = PCK.lost(rows)
    assert PCK.score(right) == 1
    assert PCK.score(wrong) == 0
    assert np.array_equal(right[:, 1], rows[:, 1])


def test_a_quantized_model_with_small_errors_passes_and_a_broken_one_fails(labels):
    many = np.concatenate([labels] * 8)
    sources = np.arange(len(many))
    rng = np.random.default_rng(0)
    shift = rng.normal(0, 1.0, (len(many), 1, KEYPOINTS, 2))
    reference = PCK.sample_statistics(found(many, shift), many)
    verdicts = {}
    for name, error in (("good", 0.05), ("broken", 6.0)):
        moved = shift + rng.normal(0, error, shift.shape)
        quantized = PCK.sample_statistics(found(many, moved), many)
        verdicts[name] = non_inferiority(
            PCK, reference, quantized, sources, 0.01, chance=PCK.chance(many), distinct_outputs=2
        ).verdict
    assert verdicts == {"good": "passed", "broken": "failed"}


@pytest.mark.parametrize(
    ("outputs", "labels", "says"),
    [
        (np.zeros((2, 1, 51)), np.zeros((2, 1, 52)), "do not fit"),
        (np.zeros((2, 1, 52)), np.zeros((2, 3, 52)), "one labelled person"),
        (np.zeros((2, 0, 52)), np.zeros((2, 1, 52)), "do not fit"),
        (np.full((2, 1, 52), np.nan), np.zeros((2, 1, 52)), "outputs hold NaN"),
        (np.zeros((2, 1, 52)), np.full((2, 1, 52), np.inf), "labels hold NaN"),
    ],
)
def test_what_does_not_fit_is_refused(outputs, labels, says):
    with pytest.raises(ValueError, match=says):
        PCK.sample_statistics(outputs, labels)


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="nothing to score"):
        PCK.score(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="nothing to score"):
        PCK.chance(np.zeros((3, 1, 52)))
