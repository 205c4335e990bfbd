"""COCO's average precision against pycocotools' own, and the laws that resampling relies on."""

import io
import time
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.validation.metrics.coco_metrics import MAP_50, MAP_50_95, OKS_AP, OKS_AP_50
from int8gate.validation.noninferiority import non_inferiority

BOXES, POSES = (MAP_50_95, MAP_50), (OKS_AP, OKS_AP_50)  # as pycocotools orders its figures
LEVELS = 13  # of scores, so that many tie
SEEDS = st.integers(0, 2**32)


def drawn_scores(rng, n, slots, within):
    """Scores that tie between pictures, and `within` pictures only if so told; some are padding."""
    levels = max(slots, LEVELS)
    each = rng.permuted(np.tile(np.arange(1, levels + 1), (n, 1)), axis=1)[:, :slots] / levels
    each = rng.integers(0, LEVELS, (n, slots)) / LEVELS if within else each
    return np.where(rng.random((n, slots)) < 0.2, -1, each)


def scenes(rng, n, slots=5, objects=4, classes=3, jitter=0.03, clutter=0.4, within=False):
    """Detections (n, slots, 6) and labels (n, objects, 5); some pictures have none of either."""
    low = rng.uniform(0, 0.5, (n, objects, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], axis=-1)
    category = rng.integers(0, classes, (n, objects, 1))
    labels = np.concatenate([category, boxes], axis=-1)
    labels[rng.random((n, objects)) < 0.4] = -1
    outputs = np.zeros((n, slots, 6))
    outputs[..., 0] = rng.integers(0, classes + 1, (n, slots))
    outputs[..., 2:] = rng.normal([0.2, 0.2, 0.6, 0.7], 0.05, (n, slots, 4))
    found = np.arange(min(slots, objects))
    right = (labels[:, found, 0] >= 0) & (rng.random((n, len(found))) > clutter)
    near = labels[:, found, 1:] + rng.normal(0, jitter, (n, len(found), 4))
    outputs[:, found, 0] = np.where(right, labels[:, found, 0], outputs[:, found, 0])
    outputs[:, found, 2:] = np.where(right[..., None], near, outputs[:, found, 2:])
    outputs[..., 4:] = np.maximum(outputs[..., 4:], outputs[..., 2:4])
    outputs[..., 1] = drawn_scores(rng, n, slots, within)
    return outputs.astype(np.float32), labels.astype(np.float32)


def people(rng, n, slots=5, objects=3, jitter=3.0, within=False):
    """Decoded people (n, slots, 52) and labels (n, objects, 52), some keypoints of them unseen."""
    keypoints = np.zeros((n, objects, 17, 3))
    middle = rng.uniform(0, 100, (n, objects, 1, 2))
    keypoints[..., :2] = middle + rng.normal(0, 15, (n, objects, 17, 2))
    keypoints[..., 2] = rng.integers(0, 3, (n, objects, 17))
    keypoints[..., 0, 2] = 2
    area = rng.uniform(200, 3000, (n, objects, 1))
    labels = np.concatenate([area, keypoints.reshape(n, objects, 51)], axis=-1)
    labels[rng.random((n, objects)) < 0.4] = 0
    outputs = rng.uniform(0, 100, (n, slots, 52))
    found = np.arange(min(slots, objects))
    outputs[:, found, 1:] = labels[:, found, 1:] + rng.normal(0, jitter, (n, len(found), 51))
    outputs[..., 0] = drawn_scores(rng, n, slots, within)
    return outputs.astype(np.float32), labels.astype(np.float32)


def library(kind: str, truth: list[dict], guesses: list[dict], pictures: int) -> np.ndarray:
    """pycocotools' AP and AP at 0.50, by its own way from annotations to the summary."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known = {entry["category_id"] for entry in truth + guesses}
    labelled, nothing_found = COCO(), COCO()
    frame = {
        "images": [{"id": i} for i in range(pictures)],
        "categories": [{"id": c} for c in known],
    }
    with redirect_stdout(io.StringIO()):
        labelled.dataset = frame | {"annotations": truth}
        nothing_found.dataset = frame | {"annotations": []}
        labelled.createIndex()
        nothing_found.createIndex()
        found = labelled.loadRes(guesses) if guesses else nothing_found
        evaluation = COCOeval(labelled, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:2]


def library_boxes(outputs, labels) -> np.ndarray:
    def annotation(picture, category, ymin, xmin, ymax, xmax):
        box = [xmin, ymin, xmax - xmin, ymax - ymin]
        return {"image_id": picture, "category_id": int(category), "bbox": box}

    truth = [
        annotation(picture, *row) | {"id": 10 * picture + slot + 1, "iscrowd": 0, "area": 1.0}
        for picture, rows in enumerate(labels.astype(float).tolist())
        for slot, row in enumerate(rows)
        if row[0] >= 0
    ]
    guesses = [
        annotation(picture, row[0], *row[2:]) | {"score": row[1]}
        for picture, rows in enumerate(outputs.astype(float).tolist())
        for row in rows
        if row[1] >= 0
    ]
    return library("bbox", truth, guesses, len(labels))


def library_poses(outputs, labels) -> np.ndarray:
    def annotation(picture, row):
        keypoints = [
            value for y, x, v in zip(*[iter(row[1:])] * 3, strict=True) for value in (x, y, v)
        ]
        return {"image_id": picture, "category_id": 1, "keypoints": keypoints}

    truth = [
        annotation(picture, row)
        | {"id": 10 * picture + slot + 1, "iscrowd": 0, "area": row[0], "bbox": [0, 0, 9, 9]}
        | {"num_keypoints": np.count_nonzero(np.array(row[3::3]) > 0)}
        for picture, rows in enumerate(labels.astype(float).tolist())
        for slot, row in enumerate(rows)
        if row[0] > 0
    ]
    guesses = [
        annotation(picture, row) | {"score": row[0]}
        for picture, rows in enumerate(outputs.astype(float).tolist())
        for row in rows
        if row[0] >= 0
    ]
    return library("keypoints", truth, guesses, len(labels))


TASKS = pytest.mark.parametrize(
    ("metrics", "draw", "reference"),
    [(BOXES, scenes, library_boxes), (POSES, people, library_poses)],
    ids=["boxes", "poses"],
)


@TASKS
@given(seed=SEEDS, n=st.integers(1, 12), slots=st.integers(1, 7), within=st.booleans())
@settings(max_examples=40, deadline=None)
def test_it_is_what_pycocotools_finds(metrics, draw, reference, seed, n, slots, within):
    outputs, labels = draw(np.random.default_rng(seed), n, slots, within=within)
    expected = reference(outputs, labels)
    for metric, figure in zip(metrics, expected, strict=True):
        rows = metric.sample_statistics(outputs, labels)
        if figure == -1:
            with pytest.raises(ValueError, match="nothing to score"):
                metric.score(rows)
        else:
            assert metric.score(rows) == pytest.approx(figure, abs=1e-9)


@pytest.mark.parametrize(
    ("metrics", "draw", "reference", "most"),
    [(BOXES, scenes, library_boxes, 100), (POSES, people, library_poses, 20)],
    ids=["boxes", "poses"],
)
def test_a_picture_s_surest_count_up_to_coco_s_limit(metrics, draw, reference, most):
    outputs, labels = draw(np.random.default_rng(0), 3, slots=most + 30)
    score = 1 if draw is scenes else 0
    outputs[..., :score] = labels[labels[..., 0] >= 0][0, :score]  # of one class
    outputs[..., score] = np.random.default_rng(1).random(outputs.shape[:2])
    rows = metrics[0].sample_statistics(outputs, labels)
    assert np.count_nonzero(rows[:, 1::3] > 0, axis=1).tolist() == [most] * 3
    assert metrics[0].score(rows) == pytest.approx(reference(outputs, labels)[0], abs=1e-9)


@TASKS
@given(seed=SEEDS, cuts=st.lists(st.integers(1, 11), max_size=4))
@settings(max_examples=20, deadline=None)
def test_batches_may_be_cut_anywhere(metrics, draw, reference, seed, cuts):
    outputs, labels = draw(np.random.default_rng(seed), 12)
    parts = zip(np.split(outputs, sorted(cuts)), np.split(labels, sorted(cuts)), strict=True)
    rows = [metrics[0].sample_statistics(*part) for part in parts if len(part[0])]
    np.testing.assert_array_equal(
        np.concatenate(rows), metrics[0].sample_statistics(outputs, labels)
    )


@TASKS
@given(seed=SEEDS, data=st.data())
@settings(max_examples=30, deadline=None)
def test_weights_are_repetitions(metrics, draw, reference, seed, data):
    outputs, labels = draw(np.random.default_rng(seed), 12)
    labels[0] = draw(np.random.default_rng(0), 1)[1]  # has objects
    counts = st.lists(st.integers(0, 3), min_size=11, max_size=11).map(lambda drawn: [1, *drawn])
    weights = np.array([data.draw(counts), data.draw(counts)])
    for metric in metrics:
        rows = metric.sample_statistics(outputs, labels)
        repeated = [metric.score(np.repeat(rows, count, axis=0)) for count in weights]
        assert metric.score(rows, weights[0]) == pytest.approx(repeated[0], abs=1e-12)
        np.testing.assert_allclose(metric.score(rows, weights), repeated)
        np.testing.assert_allclose(metric.score(rows, 0.1 * weights), repeated)


@pytest.mark.parametrize("n", [20, 25, 50, 100])
def test_a_recall_on_a_recall_point_counts_as_in_pycocotools_whatever_the_weights(n):
    labels = np.tile(np.float32([0, 0.1, 0.1, 0.5, 0.5]), (n, 1, 1))
    outputs = np.tile(np.float32([0, 0.5, 0.1, 0.1, 0.5, 0.5]), (n, 1, 1))
    for found in range(1, n):
        outputs[found:, :, 1] = -1
        rows = MAP_50.sample_statistics(outputs, labels)
        reached = np.count_nonzero(np.linspace(0, 1, 101) <= found / n) / 101
        assert MAP_50.score(rows) == pytest.approx(reached)
        weights = np.outer([0.1, 1 / 3, 0.7], np.ones(n))
        np.testing.assert_allclose(MAP_50.score(rows, weights), reached)
        outputs[:, :, 1] = 0.5


@TASKS
@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_even_score_is_within_a_point_of_recall_and_misses_every_object(
    metrics, draw, reference, seed
):
    outputs, labels = draw(np.random.default_rng(seed), 12)
    labels[0] = draw(np.random.default_rng(0), 1)[1]  # has objects
    for metric in metrics:
        rows = metric.sample_statistics(outputs, labels)
        assert metric.even_score(rows) == pytest.approx(metric.score(rows), abs=1 / 100)
        right, wrong = metric.lost(rows)
        has_objects = np.flatnonzero((right != wrong).any(axis=1))
        scores = []
        for count in range(len(has_objects) + 1):
            fewer = right.copy()
            fewer[has_objects[:count]] = wrong[has_objects[:count]]
            scores.append(metric.even_score(fewer))
        assert (scores[0], scores[-1]) == pytest.approx((1.0, 0.0))
        assert (np.diff(scores) < 0).all()


def test_many_resamples_are_scored_as_one_by_one():
    rng = np.random.default_rng(0)
    rows = MAP_50_95.sample_statistics(*scenes(rng, 600, slots=12))
    weights = rng.standard_gamma(1, (700, 600))
    together = MAP_50_95.score(rows, weights)
    assert together.shape == (700,)
    np.testing.assert_allclose(
        together[::100], [MAP_50_95.score(rows, weight) for weight in weights[::100]]
    )


def test_a_class_without_objects_of_any_weight_is_left_out():
    labels = np.float32([[[0, 0.1, 0.1, 0.5, 0.5]], [[1, 0.1, 0.1, 0.5, 0.5]]])
    outputs = np.float32([[[0, 0.5, 0.1, 0.1, 0.5, 0.5]], [[2, 0.9, 0.1, 0.1, 0.5, 0.5]]])
    rows = MAP_50.sample_statistics(outputs, labels)
    assert MAP_50.score(rows) == 0.5
    np.testing.assert_array_equal(MAP_50.score(rows, np.eye(2)), [1.0, 0.0])
    with pytest.raises(ValueError, match="nothing to score"):
        MAP_50.score(rows, np.array([[1, 0], [0, 0]]))


@TASKS
@pytest.mark.parametrize("slots", [1, 5])
def test_lost_is_everything_against_nothing(metrics, draw, reference, slots):
    outputs, labels = draw(np.random.default_rng(1), 12, slots)
    for metric in metrics:
        rows = metric.sample_statistics(outputs, labels)
        right, wrong = metric.lost(rows)
        assert right.shape == wrong.shape == rows.shape
        assert (metric.score(right), metric.score(wrong)) == (1.0, 0.0)
        no_object = (labels[..., 0] == labels[..., 0].min()).all(axis=1)  # that of padding
        np.testing.assert_array_equal((right == wrong).all(axis=1), no_object)


@TASKS
def test_blind_detections_do_not_beat_chance(metrics, draw, reference):
    rng = np.random.default_rng(0)
    outputs, labels = draw(rng, 400, slots=3)
    chance = metrics[1].chance(labels)
    assert 0 < chance < 0.3
    elsewhere = rng.permutation(400)
    always_the_same = np.broadcast_to(outputs[:1], outputs.shape)
    for blind in (outputs[elsewhere], always_the_same):
        rows = metrics[1].sample_statistics(blind, labels)
        assert metrics[1].score(rows) < chance + 0.02  # one lucky hit up front is worth 0.01


def test_chance_is_all_where_every_object_is_the_same():
    same_box = np.tile(np.float32([[1, 0.3, 0.2, 0.7, 0.8], [-1] * 5]), (30, 1, 1))
    assert MAP_50_95.chance(same_box) == 1.0
    person = people(np.random.default_rng(0), 9)[1].reshape(-1, 52).max(axis=0)
    same_person = np.tile(np.stack([person, 0 * person]), (30, 1, 1))
    assert OKS_AP.chance(same_person) == 1.0


def test_a_keypoint_that_nobody_shows_has_no_place_to_guess():
    labels = np.tile(np.float32(PERSON), (9, 1, 1))
    labels[..., -1] = 0
    with warnings.catch_warnings(action="error"):
        assert OKS_AP.chance(labels) == 1.0


@pytest.mark.parametrize(
    ("metric", "columns", "padding"), [(MAP_50, 5, -1), (OKS_AP, 52, 0)], ids=["boxes", "poses"]
)
def test_without_objects_there_is_no_chance_level(metric, columns, padding):
    with pytest.raises(ValueError, match="nothing to score"):
        metric.chance(np.full((3, 2, columns), padding, np.float32))


BOX, LABEL = [0, 0.9, 0.1, 0.1, 0.5, 0.5], [0, 0.1, 0.1, 0.5, 0.5]
PERSON = [100.0] + 17 * [1, 2, 2]


@pytest.mark.parametrize(
    ("metric", "output", "label", "message"),
    [
        (MAP_50, [0, 0.9, np.nan, 0.1, 0.5, 0.5], LABEL, "outputs hold NaN or infinity"),
        (MAP_50, [0, np.nan, 0.1, 0.1, 0.5, 0.5], LABEL, "outputs hold NaN or infinity"),
        (MAP_50, BOX, [0, 0.1, 0.1, 0.5, np.nan], "labels hold NaN or infinity"),
        (MAP_50, [0.5, 0.9, 0.1, 0.1, 0.5, 0.5], LABEL, r"class 0\.5 .* is not a whole number"),
        (MAP_50, [-1, 0.9, 0.1, 0.1, 0.5, 0.5], LABEL, "class -1 .* is not a whole number"),
        (MAP_50, BOX, [0, 0.5, 0.1, 0.1, 0.5], "has an empty box"),
        (MAP_50, PERSON, PERSON, r"outputs \(1, 1, 52\) do not fit labels \(1, 1, 52\)"),
        (MAP_50, [BOX, BOX], [[LABEL], [LABEL]], r"outputs \(1, 2, 6\) do not fit labels"),
        (OKS_AP, [np.nan, *PERSON[1:]], PERSON, "outputs hold NaN or infinity"),
        (OKS_AP, PERSON, [-1, *PERSON[1:]], "a person's area is -1"),
        (OKS_AP, PERSON, [100.0] + 17 * [1, 2, 0], "has no visible keypoint"),
        (OKS_AP, BOX, LABEL, r"outputs \(1, 1, 6\) do not fit labels \(1, 1, 5\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(metric, output, label, message):
    with pytest.raises(ValueError, match=message):
        metric.sample_statistics(np.array(output, ndmin=3), np.array(label, ndmin=3))


def test_a_box_turned_inside_out_finds_nothing_and_counts_as_wrong():
    labels = np.float32([[LABEL]])
    outputs = np.float32([[[0, 0.9, 0.5, 0.5, 0.1, 0.1], [0, 0.8, *LABEL[1:]]]])
    assert MAP_50.score(MAP_50.sample_statistics(outputs, labels)) == 0.5


def test_nothing_is_printed(capsys):
    rng = np.random.default_rng(0)
    MAP_50.sample_statistics(*scenes(rng, 3))
    OKS_AP.sample_statistics(*people(rng, 3))
    assert capsys.readouterr() == ("", "")


def detectors(n: int, forgotten: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a detector and of its quantized self, which rounds a little and forgets a share."""
    rng = np.random.default_rng(0)
    outputs, labels = scenes(rng, n, slots=20, jitter=0.01, clutter=0.05)
    outputs[..., 1] = np.where(outputs[..., 1] < 0, 0.02, outputs[..., 1])
    outputs[:, 4:, 1] *= 0.2  # no object is there
    quantized = outputs.copy()
    quantized[..., 2:] += rng.normal(0, 0.001, quantized[..., 2:].shape)
    quantized[..., 4:] = np.maximum(quantized[..., 4:], quantized[..., 2:4])
    quantized[rng.random((n, 20)) < forgotten, 1] = -1
    return tuple(MAP_50.sample_statistics(model, labels) for model in (outputs, quantized))


@pytest.mark.parametrize(
    ("metric", "forgotten", "verdict"),
    [(MAP_50_95, 0.0, "passed"), (MAP_50, 0.1, "failed")],
    ids=["rounded", "forgetful"],
)
def test_a_detector_is_judged_by_what_it_lost(metric, forgotten, verdict):
    pair = detectors(1000, forgotten)
    start = time.process_time()
    result = judge(metric, pair)
    assert time.process_time() - start < 10  # about 3 s, of MAP_50_95
    assert result.verdict == verdict
    assert result.drop_upper_95 > result.drop


def test_few_pictures_do_not_pass_a_detector():
    assert judge(MAP_50, detectors(120, 0.0)).verdict == "inconclusive"


def judge(metric, pair):
    options = {"tolerance": 0.02, "chance": 0.01, "distinct_outputs": 100}
    return non_inferiority(metric, *pair, np.arange(len(pair[0])), **options)
