"""Metrics against scikit-learn, and the laws that resampling relies on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.validation.metrics.registry import IGNORE_LABEL, METRICS, metric

CLASSES = 5


def batch(name: str, seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and labels that agree more often than by chance; some pixels are to be ignored."""
    rng = np.random.default_rng(seed)
    shape = (n,) if name == "top1" else (n, 6, 7)
    labels = rng.integers(0, CLASSES, shape)
    outputs = rng.normal(size=(*shape, CLASSES)) + 2 * np.eye(CLASSES)[labels]
    if name == "mean_iou":
        labels[rng.random(shape) < 0.2] = IGNORE_LABEL
    return outputs.astype(np.float32), labels


def score(name: str, outputs: np.ndarray, labels: np.ndarray) -> float:
    return metric(name).score(metric(name).sample_statistics(outputs, labels))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_top1_is_accuracy(seed):
    from sklearn.metrics import accuracy_score

    outputs, labels = batch("top1", seed)
    assert score("top1", outputs, labels) == accuracy_score(labels, outputs.argmax(-1))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_mean_iou_is_macro_jaccard(seed):
    from sklearn.metrics import jaccard_score

    outputs, labels = batch("mean_iou", seed)
    seen = labels != IGNORE_LABEL
    expected = jaccard_score(labels[seen], outputs.argmax(-1)[seen], average="macro")
    assert score("mean_iou", outputs, labels) == pytest.approx(expected, abs=1e-12)


def test_mean_iou_rows_are_each_sample_s_confusion_matrix():
    from sklearn.metrics import confusion_matrix

    outputs, labels = batch("mean_iou", 3)
    rows = metric("mean_iou").sample_statistics(outputs, labels)
    for row, predicted, label in zip(rows, outputs.argmax(-1), labels, strict=True):
        seen = label != IGNORE_LABEL
        matrix = confusion_matrix(label[seen], predicted[seen], labels=range(CLASSES))
        intersection = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - intersection
        np.testing.assert_array_equal(row, [*intersection, *union])


def test_mean_iou_leaves_out_absent_classes_but_not_wrongly_predicted_ones():
    labels = np.array([[[0, 1]]])
    assert score("mean_iou", np.eye(9)[labels], labels) == 1.0
    assert score("mean_iou", np.eye(9)[[[[0, 2]]]], labels) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", METRICS)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 11), max_size=4))
@settings(max_examples=20, deadline=None)
def test_batches_may_be_cut_anywhere(name, seed, cuts):
    outputs, labels = batch(name, seed)
    parts = zip(np.split(outputs, sorted(cuts)), np.split(labels, sorted(cuts)), strict=True)
    rows = [metric(name).sample_statistics(*part) for part in parts if len(part[0])]
    np.testing.assert_array_equal(
        np.concatenate(rows), metric(name).sample_statistics(outputs, labels)
    )


@pytest.mark.parametrize("name", METRICS)
@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=20, deadline=None)
def test_weights_are_repetitions(name, seed, data):
    outputs, labels = batch(name, seed)
    counts = st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any)
    weights = np.array([data.draw(counts), data.draw(counts)])
    rows = metric(name).sample_statistics(outputs, labels)
    repeated = [metric(name).score(np.repeat(rows, count, axis=0)) for count in weights]
    assert metric(name).score(rows, weights[0]) == pytest.approx(repeated[0])
    np.testing.assert_allclose(metric(name).score(rows, weights), repeated)
    np.testing.assert_allclose(metric(name).score(rows, 0.1 * weights), repeated)


@pytest.mark.parametrize("name", METRICS)
def test_lost_is_everything_against_nothing(name):
    rows = metric(name).sample_statistics(*batch(name, 1))
    right, wrong = metric(name).lost(rows)
    assert right.shape == wrong.shape == rows.shape
    assert (metric(name).score(right), metric(name).score(wrong)) == (1.0, 0.0)


@pytest.mark.parametrize("name", METRICS)
def test_blind_predictions_do_not_beat_chance(name):
    rng = np.random.default_rng(0)
    _, labels = batch(name, 0, n=4000)
    labels = np.where((labels < 3) & (rng.random(labels.shape) < 0.5), 0, labels)
    chance = metric(name).chance(labels)
    seen = labels[labels != IGNORE_LABEL]
    blind = {
        "constant": np.zeros_like(labels),
        "even": rng.integers(0, CLASSES, labels.shape),
        "by frequency": rng.choice(seen, labels.shape),
    }
    scores = [score(name, np.eye(CLASSES)[guess], labels) for guess in blind.values()]
    assert max(scores) == pytest.approx(chance, abs=0.005)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (np.eye(3), np.array([0, 1, 3]), r"labels span 0\.\.3, but outputs have 3 classes"),
        (np.eye(3), np.array([0, 1, -1]), r"labels span -1\.\.1"),
        (np.eye(3), np.array([[0], [1], [2]]), r"outputs \(3, 3\) do not fit labels \(3, 1\)"),
        (np.full((1, 3), np.nan), np.array([0]), "NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(outputs, labels, message):
    with pytest.raises(ValueError, match=message):
        metric("top1").sample_statistics(outputs, labels)


def test_nothing_to_score_is_refused():
    ignored = np.full((2, 3, 3), IGNORE_LABEL)
    with pytest.raises(ValueError, match="nothing to score"):
        score("mean_iou", np.zeros((2, 3, 3, 4)), ignored)
    with pytest.raises(ValueError, match="nothing to score"):
        metric("top1").score(np.ones((3, 2)), np.zeros(3))


def test_unknown_metric_lists_the_known():
    known = r"no metric named 'miou'; known: auc, .*, mean_iou, .*, top1"
    with pytest.raises(KeyError, match=known):
        metric("miou")
