"""Helmet scenes: boxes bound what is painted and seen, and nothing crosses the splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.figure_drawing import EYES, draw_person, draw_pose
from int8gate.calibration_data.synthetic.figures import EASY_STYLE, STYLE
from int8gate.calibration_data.synthetic.helmets import (
    BARE_HEAD,
    CLASSES,
    HELMET,
    MOST_OBJECTS,
    PERSON,
    HelmetScenes,
    draw,
    draw_worker,
    paint_helmet,
    paint_worker,
)
from int8gate.tasks import registry

SIZE = (112, 96)
# On an even background, without clutter or noise, what differs from it is somebody.
CLEAN = replace(STYLE, people=(1, 1), clutter=(0, 0), noise=(0, 0), texture=(0, 0))


def scenes(split: str = "train", count: int = 400, size=SIZE, style=STYLE) -> HelmetScenes:
    return HelmetScenes(split, size, 3, count, style)


def objects(label: np.ndarray) -> np.ndarray:
    return label[label[:, 0] >= 0]


def test_the_scenes_are_what_the_name_loads():
    evaluation = calibration_data.load("helmets", "evaluation", SIZE, 3)
    assert evaluation == draw("helmets", "evaluation", SIZE, 3)
    assert len(evaluation) >= 1000
    assert len(np.unique(evaluation.sources)) >= 350
    assert len(calibration_data.load("helmets", "calibration", SIZE, 3)) >= 100
    assert registry.scenes()["helmets"].classes == len(CLASSES)


@given(index=st.integers(0, 399))
@settings(max_examples=8, deadline=None)
def test_a_scene_depends_on_its_index_alone(index):
    for ours, theirs in zip(scenes().sample(index), scenes(count=500).sample(index), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(index=st.integers(0, 399), split=st.sampled_from(["train", "calibration", "evaluation"]))
@settings(max_examples=40, deadline=None)
def test_labels_are_well_formed(index, split):
    image, label = scenes(split).sample(index)
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8
    assert label.shape == (MOST_OBJECTS, 5)
    assert label.dtype == np.float32
    rows = objects(label)
    assert len(rows) >= 2
    assert (label[len(rows) :] == -1).all(), "padding comes last"
    assert (rows[:, 1:3] < rows[:, 3:]).all()
    assert (rows[:, 1:] >= 0).all()
    assert (rows[:, 1:] <= 1).all()
    heads, people = rows[::2], rows[1::2]
    assert np.isin(heads[:, 0], (HELMET, BARE_HEAD)).all()
    assert (people[:, 0] == PERSON).all()
    pixel = 1 / np.repeat(SIZE, 2)[[0, 2, 1, 3]]  # of a row and of a column, by turns
    assert (heads[:, 1:3] >= people[:, 1:3] - pixel[:2]).all(), "a head is part of its person"
    assert (heads[:, 3:] <= people[:, 3:] + pixel[:2]).all()


@given(index=st.integers(0, 399))
@settings(max_examples=25, deadline=None)
def test_a_lone_persons_box_bounds_what_differs_from_the_background(index):
    image, label = scenes(style=CLEAN).sample(index)
    rows = objects(label)
    assume(len(rows))  # some stand with their head outside the picture, and are not shown
    assert len(rows) == 2
    pixels = image.astype(int)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    differs = np.abs(pixels - colours[counts.argmax()]).max(axis=-1) > 0
    found = [np.flatnonzero(differs.any(axis)) for axis in (1, 0)]
    bounds = [at[end] + (end == -1) for end in (0, -1) for at in found]
    np.testing.assert_allclose(bounds, rows[1, 1:] * [*SIZE, *SIZE], atol=1)


@given(seed=st.integers(0, 2**32), liveliness=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_helmet_sits_on_the_head_and_leaves_the_eyes_free(seed, liveliness):
    rng = np.random.default_rng(seed)
    worker = draw_worker(rng, draw_person(rng))
    while worker.helmet is None:
        worker = draw_worker(rng, draw_person(rng))
    points = draw_pose(rng, worker, liveliness) * 200 + [200, 200]
    layer = Image.new("CMYK", (400, 400))
    paint_helmet(layer, worker, points, 200)
    helmet = np.asarray(layer.getchannel(3)) > 0
    columns, rows = np.rint(points[EYES : EYES + 2]).astype(int).T
    assert not helmet[rows, columns].any()
    left, top, right, bottom = layer.getchannel(3).getbbox()
    assert left < columns.min() < columns.max() < right
    assert top < rows.min()
    assert 0.08 * 200 < bottom - top < 0.25 * 200
    whole = Image.new("CMYK", (400, 400))
    paint_worker(whole, worker, points, 200)
    np.testing.assert_array_equal(
        np.asarray(whole)[helmet], np.asarray(layer)[helmet], "nothing covers one's own helmet"
    )


def test_helmets_bare_heads_and_crowds_all_occur():
    labels = np.stack([scenes("evaluation").sample(index)[1] for index in range(150)])
    classes = labels[..., 0]
    helmets, bare, people = ((classes == number).sum() for number in range(3))
    assert helmets + bare == people
    assert 0.35 < helmets / people < 0.75
    assert set((classes == PERSON).sum(axis=1)) == {1, 2, 3}


@pytest.mark.parametrize("split", ["calibration", "evaluation"])
def test_scenes_of_one_source_show_the_same_people_in_the_same_helmets(split):
    drawn = scenes(split, 2000)
    first, second = np.flatnonzero(drawn.sources == 3)[:2]
    rng = np.random.default_rng(0)
    same = [drawn._people(rng, int(drawn.sources[index])) for index in (first, second)]
    assert same[0] == same[1]
    assert drawn._people(rng, 4) != same[0]


def test_splits_show_different_people():
    rng = np.random.default_rng(0)
    shown = [
        {worker for source in range(20) for worker in scenes(split)._people(rng, source)}
        for split in ("calibration", "evaluation")
    ]
    assert not shown[0] & shown[1]


def test_the_digest_tells_sets_apart():
    from int8gate.calibration_data.synthetic.figures import FigureScenes

    sets = [
        scenes(),
        scenes(split="evaluation"),
        scenes(count=10),
        scenes(size=(96, 112)),
        scenes(style=EASY_STYLE),
        FigureScenes("train", SIZE, 3, 400),
    ]
    assert len({one.digest() for one in sets}) == len(sets)
    assert scenes().digest() == scenes().digest()


def test_grey_scenes_have_one_channel():
    image, label = HelmetScenes("train", SIZE, 1, 10).sample(0)
    assert image.shape == (*SIZE, 1)
    np.testing.assert_array_equal(label, scenes(count=10).sample(0)[1])
