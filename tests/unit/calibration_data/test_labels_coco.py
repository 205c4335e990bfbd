"""Boxes of COCO's annotation files: where they come to lie, what is left out, what is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from coco_folders import box, image, write_coco
from data_folders import refused, write
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.validation.metrics.coco_matching import match_boxes

FIT = Fit((32, 48))


def all_of(root: Path, task: str = "detection", fit: Fit = FIT, **options) -> list:
    """Every (image, label) of both splits, by file name, and the notes."""
    found, notes = {}, ()
    for split in ("calibration", "evaluation"):
        try:
            samples = open_data(root, task, split, fit, **options)
        except ValueError as error:
            if "no picture is left" not in str(error):
                raise
            continue
        notes = samples.notes
        for index, (path, _) in enumerate(samples.samples):
            found[path.name] = samples.sample(index)
    return found, notes


def labels_of(root: Path, name: str = "1.png", **options) -> np.ndarray:
    """The rows of a picture's label that are no padding."""
    label = all_of(root, **options)[0][name][1]
    return label[label[:, 0] >= 0]


def test_boxes_become_parts_of_the_frame(tmp_path):
    write_coco(
        tmp_path,
        [image(1), image(2), image(3)],
        [box(1, 1, [15, 10, 30, 20], 3), box(2, 1, [0, 0, 60, 40], 1), box(3, 2, [6, 4, 6, 4], 1)],
    )
    found, notes = all_of(tmp_path)
    assert notes == ()
    for frame, label in found.values():
        assert (frame.shape, frame.dtype) == ((32, 48, 3), np.uint8)
        assert (label.shape, label.dtype) == ((2, 5), np.float32)
    np.testing.assert_allclose(found["1.png"][1], [[1, 0.25, 0.25, 0.75, 0.75], [0, 0, 0, 1, 1]])
    np.testing.assert_allclose(found["2.png"][1], [[0, 0.1, 0.1, 0.2, 0.2], [-1] * 5], rtol=1e-6)
    assert (found["3.png"][1] == -1).all(), "a picture without objects is scored too"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-70, 130)] * 2, *[st.floats(-5, 150)] * 2), min_size=1, max_size=8
    ),
    st.sampled_from(
        [Fit((32, 48)), Fit((40, 40), "crop", 0.8), Fit((33, 64), "letterbox", pad=114)]
    ),
    st.tuples(st.integers(30, 90), st.integers(30, 90)),
)
def test_what_is_left_is_what_the_metric_takes(boxes, fit, size):
    with tempfile.TemporaryDirectory() as folder:
        annotations = [box(i, 1, list(b), 3) for i, b in enumerate(boxes)]
        root = write_coco(Path(folder), [image(1, size)], annotations)
        found, notes = all_of(root, fit=fit)
        label = found["1.png"][1]
        rows = label[label[:, 0] >= 0]
        assert (rows[:, 0] == 1).all()
        assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()
        assert (rows[:, 3:] > rows[:, 1:3]).all()
        match_boxes(np.zeros((1, 1, 6)), label[None])  # raises on what cannot be scored
        out = sum(int(note.split("left out ")[1].split()[0]) for note in notes if "left" in note)
        assert out + len(rows) == len(boxes), "left out without a word"


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(2, 20), st.integers(2, 12)),
    st.tuples(st.integers(12, 30), st.integers(12, 25)),
    st.sampled_from(["stretch", "crop", "letterbox"]),
)
def test_boxes_bound_what_they_bounded(corner, extent, kind):
    """A white rectangle's box, through the files, still bounds what is white."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.zeros((40, 60, 3), np.uint8)
        (x, y), (width, height) = corner, extent
        pixels[y : y + height, x : x + width] = 255
        write(Path(folder) / "1.png", pixels)
        root = write_coco(Path(folder), [image(1)], [box(1, 1, [x, y, width, height])])
        frame, label = all_of(root, fit=Fit((80, 80), kind))[0]["1.png"]
        white = frame[..., 0] > 127
        rows, columns = (np.flatnonzero(white.any(axis)) for axis in (1, 0))
        bounds = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        np.testing.assert_allclose(label[0, 1:] * 80, bounds, atol=1)


def test_what_is_left_out_is_said(tmp_path):
    write_coco(
        tmp_path,
        [image(1), image(7), image(8)],
        [
            box(1, 1, [1, 2, 3, 4]),
            box(2, 1, [1, 2, 3, 4], iscrowd=1),
            box(3, 1, [1, 2, 3, 4], ignore=1),
            box(4, 1, [-10, 2, 20, 4]),
            box(5, 1, [1, 2, 0, 4]),
            box(6, 1, [80, 2, 5, 4]),
            box(7, 7, [1, 2, 3, 4]),
        ],
    )
    (tmp_path / "7.png").unlink()
    found, notes = all_of(tmp_path)
    assert found.keys() == {"1.png", "8.png"}
    np.testing.assert_allclose(
        labels_of(tmp_path)[:, 1:], [[0.05, 1 / 60, 0.15, 4 / 60], [0.05, 0, 0.15, 10 / 60]], 1e-5
    )
    said = " | ".join(notes)
    for part in (
        "2 crowds",
        "2 objects of which the network's frame shows nothing",
        "1 listed pictures",
        "cut 1 boxes",
    ):
        assert part in said
    _, cropped = all_of(tmp_path, fit=Fit((32, 32), "crop", 0.5))
    assert any("4 objects of which" in note for note in cropped), "two lay beside the centre"


def test_categories_are_numbered_by_id_or_as_declared(tmp_path):
    write_coco(
        tmp_path,
        [image(1)],
        [box(1, 1, [0, 0, 6, 4], 9), box(2, 1, [0, 0, 6, 4], 4), box(3, 1, [0, 0, 6, 4], 7)],
        categories=[(9, "cat"), (4, "dog"), (7, "cow")],
    )

    def classes(**options) -> list:
        return labels_of(tmp_path, **options)[:, 0].tolist()

    assert classes() == classes(classes=3) == [2, 0, 1]
    assert classes(class_names=("cow", "dog", "cat")) == [2, 1, 0]
    assert classes(class_names=(0, 9, 2, 7, 4)) == [1, 4, 3]
    assert classes(class_names=("person", "dog")) == [1]
    notes = all_of(tmp_path, class_names=("person", "dog"))[1]
    assert any("2 objects of categories that the key classes leaves out" in note for note in notes)
    for options, *said in (
        ({"classes": 80}, "3 categories", "80 classes", "dog, cow, cat", "the key classes"),
        ({"class_names": ("sheep",)}, "none of its categories", "key classes lists", "cat"),
        ({"class_names": ("cat", "cat")}, "'cat' twice"),
        ({"class_names": ("cat", "dog", "cow"), "classes": 2}, "3 names", "has 2"),
    ):
        refused(lambda options=options: classes(**options), *said)


def test_where_files_may_lie(tmp_path):
    """COCO's own layout, pictures in images/, and Roboflow's export."""
    one = [image(1)], [box(1, 1, [0, 0, 6, 4])]
    write_coco(tmp_path / "a", *one, file="annotations/instances_val2017.json", folder="val2017")
    write_coco(tmp_path / "b", *one, folder="images")
    write_coco(tmp_path / "c", *one, file="_annotations.coco.json")
    for name in "abc":
        assert len(labels_of(tmp_path / name)) == 1
    write_coco(tmp_path / "a", *one, file="annotations/instances_train2017.json", folder="val2017")
    refused(lambda: labels_of(tmp_path / "a"), "instances_train2017.json", "expected one")


def test_label_rows_are_the_same_in_both_splits(tmp_path):
    write_coco(tmp_path / "calibration", [image(1)], [box(i, 1, [0, 0, 6, 4]) for i in range(5)])
    write_coco(tmp_path / "evaluation", [image(2)], [box(1, 2, [0, 0, 6, 4])])
    assert {label.shape for _, label in all_of(tmp_path)[0].values()} == {(5, 5)}


def test_own_split_takes_each_class_along(tmp_path):
    """One picture in ten shows a dog; a fifth of them is due, beside a fifth of the others."""
    images = [image(n) for n in range(190)]
    annotations = [box(n, n, [0, 0, 6, 4], 3 if n % 10 == 0 else 1) for n in range(190)]
    write_coco(tmp_path, images, annotations)
    samples = open_data(tmp_path, "detection", "calibration", FIT)
    dogs = sum((samples.sample(i)[1][:, 0] == 1).any() for i in range(len(samples)))
    assert 3 <= dogs <= 4  # of 19
    assert 39 <= len(samples) <= 42
    assert open_data(tmp_path, "detection", "evaluation", FIT).digest() != samples.digest()
    assert samples == open_data(tmp_path, "detection", "calibration", FIT)
    assert samples != open_data(tmp_path, "detection", "calibration", Fit((32, 40)))


def test_a_picture_of_another_size_than_its_annotations(tmp_path):
    write_coco(tmp_path, [image(1)], [box(1, 1, [0, 0, 6, 4])])
    write(tmp_path / "1.png", np.zeros((60, 40, 3), np.uint8))
    refused(lambda: all_of(tmp_path), "1.png", "40x60", "60x40", "EXIF")


def test_sizes_that_the_file_does_not_say_are_the_pictures(tmp_path):
    entry = image(1)
    del entry["width"]
    write_coco(tmp_path, [entry], [box(1, 1, [15, 10, 30, 20])])
    np.testing.assert_allclose(labels_of(tmp_path)[0], [0, 0.25, 0.25, 0.75, 0.75])


GOOD = {"images": [image(1)], "annotations": [box(4, 1, [0, 0, 6, 4])]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": None}, "no list of annotations"),
        ({"images": [3]}, "no list of images"),
        ({"categories": {}}, "no list of categories"),
        ({"images": [image("1")]}, "id = '1'"),
        ({"images": [image(1, file_name=None)]}, "no file_name"),
        ({"images": [image(1), image(1)]}, "twice"),
        ({"images": [image(1), image(2, file_name="1.png")]}, "twice"),
        ({"images": [image(1, width=0)]}, "0x40"),
        ({"images": [image(1, width=10**30)]}, "expected 1 to"),
        ({"images": [image(1, file_name="absent.png")]}, "none of them is in"),
        ({"images": [image(1, file_name="../1.png")]}, "leads outside"),
        ({"images": [image(1, file_name="/etc/passwd")]}, "relative"),
        ({"images": [image(1, file_name="a\0b.png")]}, "relative"),
        ({"images": [image(1, file_name="x" * 5000)]}, "none of them is in"),
        ({"annotations": [box(4, 2, [0, 0, 6, 4])]}, "image 2"),
        ({"annotations": [box(4, 1, [0, 0, 6, 4], 2)]}, "category 2"),
        ({"annotations": [box(4, 1, [0, 0, 6, 4], True)]}, "category_id = True"),
        ({"annotations": [box(4, 1, [0, 0, 6])]}, "annotation 4 has bbox = [0, 0, 6]"),
        ({"annotations": [box(4, 1, [0, 0, 6, float("nan")])]}, "expected 4 numbers"),
        ({"annotations": [box(4, 1, [0, 0, 6, float("inf")])]}, "expected 4 numbers"),
        ({"annotations": [box(4, 1, [0, 0, 6, 10**400])]}, "expected 4 numbers"),
        ({"annotations": [box(4, 1, [0, 0, 6, None])]}, "expected 4 numbers"),
        ({"annotations": [box(4, 1, {"x": "y" * 9999})]}, "expected 4 numbers"),
        ({"annotations": [box(4, [], [0, 0, 6, 4])]}, "image_id = []"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_annotations_are_checked(change, said, tmp_path):
    write_coco(tmp_path, **GOOD)
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    sentence = refused(lambda: all_of(tmp_path), said)
    assert str(tmp_path) in sentence


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b"\xff\xfe\x00", b"1" * 5000, b"null", b'"x"', b"[]", b"\x00" * 9],
    ids=[f"broken{n}" for n in range(9)],
)
def test_what_is_no_annotation_file(content, tmp_path):
    write_coco(tmp_path, **GOOD)
    (tmp_path / "annotations.json").write_bytes(content)
    refused(lambda: all_of(tmp_path), str(tmp_path / "annotations.json"), "not COCO JSON")


def test_an_annotation_file_too_large_to_be_parsed(tmp_path):
    write_coco(tmp_path, **GOOD)
    with open(tmp_path / "annotations.json", "r+b") as file:
        file.truncate(10**9)  # sparse: it takes no room
    refused(lambda: all_of(tmp_path), "1000000000 bytes", "annotations.json")
