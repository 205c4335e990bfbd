"""Crops of one person: what is labelled is the subject, and nothing crosses the splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.figure_drawing import HIPS, KEYPOINTS, SHOULDERS
from int8gate.calibration_data.synthetic.figures import OCCLUDED, OUTSIDE, VISIBLE, FigureScenes
from int8gate.calibration_data.synthetic.single_figures import (
    EASY_STYLE,
    STYLE,
    SingleFigures,
    draw,
)
from int8gate.tasks import registry

SIZE = (128, 96)
sizes = st.sampled_from([SIZE, (96, 96), (64, 48), (100, 140)])


def crops(split: str = "train", count: int = 400, size=SIZE, style=STYLE) -> SingleFigures:
    return SingleFigures(split, size, 3, count, style)


def test_the_crops_are_what_the_task_loads():
    evaluation = calibration_data.load("keypoints", "evaluation", SIZE, 3)
    assert evaluation == draw("keypoints", "evaluation", SIZE, 3)
    assert len(evaluation) >= 1000
    assert len(np.unique(evaluation.sources)) >= 350
    assert registry.scenes()["keypoints"].classes == KEYPOINTS


@given(index=st.integers(0, 399))
@settings(max_examples=8, deadline=None)
def test_a_crop_depends_on_its_index_alone(index):
    image, label = crops().sample(index)
    longer, same = crops(count=500).sample(index)
    assert np.array_equal(image, longer)
    assert np.array_equal(label, same)


@given(index=st.integers(0, 399), size=sizes)
@settings(max_examples=30, deadline=None)
def test_the_subject_fills_the_crop(index, size):
    image, label = crops(size=size).sample(index)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert label.shape == (1, 1 + 3 * KEYPOINTS)
    assert label.dtype == np.float32
    keypoints = label[0, 1:].reshape(KEYPOINTS, 3)
    there = keypoints[keypoints[:, 2] > 0, :2]
    assert np.isin(keypoints[:, 2], (OUTSIDE, OCCLUDED, VISIBLE)).all()
    assert (there >= 0).all()
    assert (there <= np.array(size) - 1).all()
    assert 0.02 * size[0] * size[1] < label[0, 0] < 0.7 * size[0] * size[1]
    assert (np.ptp(there, axis=0) / size).max() > 0.45
    middle = (there.min(axis=0) + there.max(axis=0)) / 2
    assert (np.abs(middle / size - 0.5) < 0.2).all()


def test_the_torso_is_always_inside():
    keypoints = np.stack([crops().sample(index)[1][0, 1:] for index in range(200)])
    visibility = keypoints.reshape(-1, KEYPOINTS, 3)[..., 2]
    torso = [SHOULDERS, SHOULDERS + 1, HIPS, HIPS + 1]
    assert (visibility[:, torso] > OUTSIDE).all()


def test_somebody_else_may_stand_in_front():
    """And only then is a keypoint occluded."""
    hard = np.stack([crops().sample(index)[1] for index in range(200)])
    alone = np.stack([crops(style=EASY_STYLE).sample(index)[1] for index in range(60)])
    occluded = (hard[:, 0, 3::3] == OCCLUDED).any(axis=1)
    assert 0.1 < occluded.mean() < 0.6
    assert not (alone[:, 0, 3::3] == OCCLUDED).any()


def test_the_subject_is_not_drawn_from_somebody_elses_keypoints():
    """At its hip, when visible, are its own trousers."""
    drawn = crops("evaluation", 1200)
    near = []
    for index in range(60):
        image, label = drawn.sample(index)
        subject = drawn._people(np.random.default_rng(0), int(drawn.sources[index]))[0]
        y, x, v = label[0, 1:].reshape(KEYPOINTS, 3)[HIPS]
        if v == VISIBLE:
            colour = image[round(y), round(x)].astype(float)
            near.append(np.abs(colour - subject.trousers).max() < 40)
    assert len(near) > 40
    assert np.mean(near) > 0.9


@pytest.mark.parametrize("split", ["calibration", "evaluation"])
def test_crops_of_one_source_show_the_same_person(split):
    drawn = crops(split, 2000)
    first, second = np.flatnonzero(drawn.sources == 3)[:2]
    rng = np.random.default_rng(0)
    same = [drawn._people(rng, int(drawn.sources[index])) for index in (first, second)]
    assert same[0] == same[1]
    assert drawn._people(rng, 4) != same[0]


def test_the_digest_tells_sets_apart():
    digests = {
        crops().digest(),
        crops(split="evaluation").digest(),
        crops(count=10).digest(),
        crops(size=(96, 128)).digest(),
        crops(style=EASY_STYLE).digest(),
        FigureScenes("train", SIZE, 3, 400, STYLE).digest(),
    }
    assert len(digests) == 6
    assert crops().digest() == crops().digest()


def test_grey_crops_have_one_channel():
    image, label = SingleFigures("train", SIZE, 1, 10).sample(0)
    assert image.shape == (*SIZE, 1)
    assert np.array_equal(label, crops(count=10).sample(0)[1])
