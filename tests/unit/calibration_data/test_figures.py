"""Scenes of drawn people: what is labelled is what is painted, and nothing crosses the splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.figure_drawing import (
    ANKLES,
    ELBOWS,
    EYES,
    HIPS,
    KEYPOINTS,
    NOSE,
    SHOULDERS,
    WRISTS,
    draw_person,
    draw_pose,
    paint,
)
from int8gate.calibration_data.synthetic.figures import (
    EASY_STYLE,
    OCCLUDED,
    OUTSIDE,
    PEOPLE,
    STYLE,
    VISIBLE,
    FigureScenes,
    draw,
)
from int8gate.tasks import registry

SIZE = (181, 141)


def scenes(split: str = "train", count: int = 400, size=SIZE, style=STYLE) -> FigureScenes:
    return FigureScenes(split, size, 3, count, style)


def people(label: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Area and keypoints (17, 3) of each row that is no padding."""
    return [(row[0], row[1:].reshape(KEYPOINTS, 3)) for row in label if row[0] > 0]


def test_the_scenes_are_what_the_task_loads():
    evaluation = calibration_data.load("pose", "evaluation", SIZE, 3)
    assert evaluation == draw("pose", "evaluation", SIZE, 3)
    assert len(evaluation) >= 1000
    assert len(np.unique(evaluation.sources)) >= 350
    assert registry.scenes()["pose"].classes == KEYPOINTS


@given(index=st.integers(0, 399))
@settings(max_examples=8, deadline=None)
def test_a_scene_depends_on_its_index_alone(index):
    image, label = scenes().sample(index)
    again, same = scenes(count=400, style=STYLE).sample(index)
    assert np.array_equal(image, again)
    assert np.array_equal(label, same)
    longer, _ = scenes(count=500).sample(index)
    assert np.array_equal(image, longer)


@given(index=st.integers(0, 399))
@settings(max_examples=25, deadline=None)
def test_labels_are_well_formed(index):
    image, label = scenes().sample(index)
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8
    assert label.shape == (PEOPLE, 1 + 3 * KEYPOINTS)
    assert label.dtype == np.float32
    assert not label[label[:, 0] == 0].any()
    for area, keypoints in people(label):
        assert 0.005 * SIZE[0] * SIZE[1] < area < 0.6 * SIZE[0] * SIZE[1]
        assert np.isin(keypoints[:, 2], (OUTSIDE, OCCLUDED, VISIBLE)).all()
        assert not keypoints[keypoints[:, 2] == OUTSIDE].any()
        assert (keypoints[:, :2] >= 0).all()
        assert (keypoints[:, :2] <= np.array(SIZE) - 1).all()


@given(seed=st.integers(0, 2**32), liveliness=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_person_faces_the_viewer(seed, liveliness):
    rng = np.random.default_rng(seed)
    x, y = draw_pose(rng, draw_person(rng), liveliness).T
    for left in (EYES, SHOULDERS, HIPS):
        assert x[left] > x[left + 1]
    assert y[NOSE] < y[SHOULDERS : SHOULDERS + 2].min() < y[HIPS] < y[ANKLES : ANKLES + 2].min()


@given(seed=st.integers(0, 2**32), liveliness=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_every_keypoint_lies_on_the_painted_figure(seed, liveliness):
    rng = np.random.default_rng(seed)
    person = draw_person(rng)
    points = draw_pose(rng, person, liveliness) * 100 + [100, 100]
    layer = Image.new("CMYK", (200, 200))
    paint(layer, person, points, 100)
    covered = np.asarray(layer.getchannel(3)) > 0
    column, row = np.rint(points).astype(int).T
    assert covered[row, column].all()


def test_hands_and_eyes_show_their_own_colours():
    rng = np.random.default_rng(5)
    person = draw_person(rng)
    points = draw_pose(rng, person, 0.0) * 200 + [150, 150]
    layer = Image.new("CMYK", (300, 300))
    paint(layer, person, points, 200)
    colours = np.asarray(layer)[..., :3].astype(int)

    def at(keypoint):
        column, row = np.rint(points[keypoint]).astype(int)
        return colours[row, column]

    assert np.abs(at(WRISTS) - person.skin).max() <= 1
    assert np.abs(at(EYES) - person.eyes).max() <= 1
    assert at(WRISTS + 1).sum() < at(WRISTS).sum()  # the right one lies in the shade
    assert at(ELBOWS + 1).sum() < at(ELBOWS).sum()


def test_occlusion_needs_a_second_person():
    alone = [label for _, label in map(scenes().sample, range(120)) if len(people(label)) == 1]
    assert alone
    assert all(people(label)[0][1][:, 2].max() == VISIBLE for label in alone)
    assert not any((people(label)[0][1][:, 2] == OCCLUDED).any() for label in alone)


def test_hard_scenes_hold_what_makes_poses_hard():
    labels = [scenes().sample(index)[1] for index in range(120)]
    visibilities = np.concatenate(
        [keypoints[:, 2] for label in labels for _, keypoints in people(label)]
    )
    counts = {len(people(label)) for label in labels}
    assert counts == {1, 2, 3}
    for state, least in ((OUTSIDE, 0.02), (OCCLUDED, 0.01), (VISIBLE, 0.7)):
        assert (visibilities == state).mean() > least


@pytest.mark.parametrize("split", ["calibration", "evaluation"])
def test_scenes_of_one_source_show_the_same_people(split):
    drawn = scenes(split, 2000)
    first, second = np.flatnonzero(drawn.sources == 3)[:2]
    rng = np.random.default_rng(0)
    same = [drawn._people(rng, int(drawn.sources[index])) for index in (first, second)]
    assert same[0] == same[1]
    assert drawn._people(rng, 4) != same[0]


def test_splits_show_different_people():
    rng = np.random.default_rng(0)
    shown = {
        person
        for split in ("calibration", "evaluation")
        for source in range(20)
        for person in scenes(split)._people(rng, source)
    }
    assert len(shown) == 2 * 20 * PEOPLE


def test_the_digest_tells_sets_apart():
    digests = {
        scenes().digest(),
        scenes(split="evaluation").digest(),
        scenes(count=10).digest(),
        scenes(size=(141, 181)).digest(),
        scenes(style=EASY_STYLE).digest(),
    }
    assert len(digests) == 5
    assert scenes().digest() == scenes().digest()


def test_grey_scenes_have_one_channel():
    image, label = FigureScenes("train", SIZE, 1, 10).sample(0)
    assert image.shape == (*SIZE, 1)
    assert np.array_equal(label, scenes(count=10).sample(0)[1])
