"""People of COCO's annotation files: keypoints follow the picture, by OKS's measure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from coco_folders import KEYPOINTS, image, person, standing, write_coco
from data_folders import refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.validation.metrics.registry import metric

PERSON = [{"id": 1, "name": "person", "keypoints": KEYPOINTS}]
FIT = Fit((80, 120))  # twice the picture that `image` and `standing` speak of


def samples_of(root: Path, annotations, task="pose", fit=FIT, categories=PERSON, count=1):
    """The evaluation set of a folder of its own; each calibrates with a picture of its own."""
    pictures = [image(n) for n in range(1, count + 1)]
    write_coco(root / "calibration", [image(99)], [person(1, 99, standing(9))], categories)
    write_coco(root / "evaluation", pictures, annotations, categories)
    return open_data(root, task, "evaluation", fit)


def people(samples, index: int = 0) -> np.ndarray:
    label = samples.sample(index)[1]
    assert (label.shape[1], label.dtype) == (52, np.float32)
    return label[label[:, 0] > 0]


def test_keypoints_become_pixels_of_the_frame(tmp_path):
    points = standing(1)
    points[3] = 0
    points[4, 2] = 1
    found = people(samples_of(tmp_path, [person(1, 1, points, area=150.0)]))
    assert found.shape == (1, 52)
    assert found[0, 0] == 600, "px² of a picture twice as high and wide"
    rows = found[0, 1:].reshape(17, 3)
    np.testing.assert_array_equal(rows[:, 2], points[:, 2])
    assert (rows[3] == 0).all()
    seen = points[:, 2] > 0
    np.testing.assert_allclose(rows[seen, 0], 2 * points[seen, 1] + 0.5, atol=1e-5)
    np.testing.assert_allclose(rows[seen, 1], 2 * points[seen, 0] + 0.5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from(["stretch", "crop", "letterbox"]),
    st.tuples(st.integers(24, 100), st.integers(24, 100)),
)
def test_right_answers_stay_right_in_every_frame(seed, kind, size):
    """The score of the labels themselves, and how OKS falls with a shift, know no frame's scale."""
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(size, kind, enlarge=True)
        samples = samples_of(Path(folder), [person(1, 1, standing(seed))], fit=fit)
        image, label = samples.sample(0)
        assume(label[:, 0].any())
        assert image.shape == (*size, 3)
        for row in label[label[:, 0] > 0]:
            y, x, v = row[1:].reshape(17, 3).T
            assert (v > 0).any()
            assert ((y[v > 0] >= -0.5) & (y[v > 0] <= size[0] - 0.5)).all()
            assert ((x[v > 0] >= -0.5) & (x[v > 0] <= size[1] - 0.5)).all()
            assert (row[1:].reshape(17, 3)[v == 0] == 0).all()
        if kind == "letterbox":
            np.testing.assert_allclose(
                label[0, 0] / 200, np.prod(fit.place((40, 60)).scale), rtol=1e-5
            )
        answer = label[None].copy()
        answer[..., 0] = np.where(label[:, 0] > 0, 0.9, -1)
        oks = metric("oks_ap")
        assert oks.score(oks.sample_statistics(answer, label[None])) == 1


def test_what_is_left_out_is_said(tmp_path):
    nowhere = standing(2) * [1, 1, 0]
    below = standing(3) * [1, 0, 1] + [0, 500, 0]  # beyond the picture's lower edge
    boxed = person(6, 1, standing(5))
    del boxed["area"]
    samples = samples_of(
        tmp_path,
        [
            person(1, 1, standing(1)),
            person(2, 1, nowhere),
            person(3, 1, below),
            person(4, 1, standing(4), iscrowd=1),
            {"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]},
            boxed,
        ],
    )
    assert len(people(samples)) == 2
    assert people(samples)[1, 0] == 4 * 400, "the box's 20 x 20"
    said = " | ".join(samples.notes)
    for part in (
        *(
            "2 people without a labelled keypoint",
            "1 objects of which the network's frame shows nothing",
            "1 crowds",
        ),
        "1 people have no area",
    ):
        assert part in said


def test_one_person_a_picture(tmp_path):
    """Top-down pose: labels of one row, pictures of more or of fewer people are left out."""
    annotations = [person(1, 1, standing(1)), person(2, 2, standing(2)), person(3, 2, standing(3))]
    samples = samples_of(tmp_path, annotations, task="keypoints", count=3)
    assert len(samples) == 1
    assert samples.sample(0)[1].shape == (1, 52)
    assert any("2 pictures without exactly one person" in note for note in samples.notes)
    pck = metric("pck")
    label = samples.sample(0)[1][None]
    assert pck.score(pck.sample_statistics(label, label)) == 1


def test_keypoints_in_another_order(tmp_path):
    points, turned = standing(1), [{"id": 1, "name": "person", "keypoints": KEYPOINTS[::-1]}]
    straight = people(samples_of(tmp_path / "a", [person(1, 1, points)]))
    found = people(samples_of(tmp_path / "b", [person(1, 1, points[::-1])], categories=turned))
    np.testing.assert_array_equal(found, straight)
    for names in ([*KEYPOINTS[:-1], "tail"], KEYPOINTS[:-1], "nose", [3]):
        others = [{"id": 1, "name": "dog", "keypoints": names}]
        refused(
            lambda others=others: samples_of(tmp_path / "c", [], categories=others),
            *("'dog'", "other keypoints", "COCO's 17"),
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keypoints": [1, 2, 3]}, "expected 51 numbers"),
        ({"keypoints": [1, 2, 3] * 17}, "0, 1 or 2"),
        ({"keypoints": [float("nan")] * 51}, "expected 51 numbers"),
        ({"area": 0, "bbox": [0, 0, 0, 0]}, "neither an area nor a box"),
        ({"area": float("nan"), "bbox": None}, "bbox = None"),
    ],
)
def test_people_are_checked(change, said, tmp_path):
    refused(lambda: samples_of(tmp_path, [person(7, 1, standing(1)) | change]), said, "nnotation 7")


def test_the_file_of_people_is_chosen_among_two(tmp_path):
    for split, number in (("calibration", 1), ("evaluation", 2)):
        root = tmp_path / split
        write_coco(root, [image(number)], [], file="instances_x.json")
        names = "person_keypoints_x.json"
        write_coco(root, [image(number)], [person(1, number, standing(1))], PERSON, names)
    assert len(people(open_data(tmp_path, "pose", "evaluation", FIT))) == 1
    boxes = open_data(tmp_path, "detection", "evaluation", FIT).sample(0)[1]
    assert boxes.shape == (1, 5)
    assert (boxes == -1).all()
