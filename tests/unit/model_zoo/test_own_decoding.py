"""Outputs of own models as their metrics take them: whatever the layout, unit and known head."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.calibration_data.synthetic.super_resolution import luminance
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.importers.darknet.cfg import YoloHead
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models import user_hooks
from int8gate.tasks.registry import tasks

DEFAULTS = {name: task.decode for name, task in tasks().items() if task.decode}
DECODERS = {name: task.heads for name, task in tasks().items() if task.heads}

HEIGHT, WIDTH = 64, 96
CHANNELS_FIRST = (0, 3, 1, 2)


def decoded(
    place: str, outputs, layout: str = "nhwc", size=(HEIGHT, WIDTH), classes=None, **told
) -> np.ndarray:
    told = {"layout": layout, "mean": 0.0, "std": 1.0, "colours": "rgb"} | told
    network = Network("", (*size, 3), size, classes, arguments=told)
    outputs = [np.asarray(output, np.float32) for output in outputs]
    pictures = [np.zeros((len(outputs[0]), *size, 3), np.float32)]
    return user_hooks.decoded(place, resolve(place), outputs, network, pictures)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@given(st.integers(2, 9), st.booleans())
def test_scores_of_pixels_come_channels_last(classes, is_first):
    scores = random(2, HEIGHT, WIDTH, classes)
    given_so = scores.transpose(CHANNELS_FIRST) if is_first else scores
    for layout in ("nhwc", "nchw"):  # of the input: the shape of the output decides
        found = decoded(DEFAULTS["segmentation"], [given_so], layout)
        assert np.array_equal(found, scores)


def test_where_both_layouts_fit_the_inputs_holds():
    scores = random(1, 8, 8, 8)
    for layout, same in (("nhwc", scores), ("nchw", scores.transpose(0, 2, 3, 1))):
        found = decoded(DEFAULTS["segmentation"], [scores], layout, (8, 8))
        assert np.array_equal(found, same)


@pytest.mark.parametrize("shape", [(1, HEIGHT, WIDTH, 1), (1, 16, 24, 5), (1, 5)])
def test_what_is_no_label_map_is_refused(shape):
    refused(
        lambda: decoded(DEFAULTS["segmentation"], [random(*shape)]),
        f"(n, {', '.join(map(str, shape[1:]))})",
        "(n, 64, 96, classes)",
        "decode",
    )


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1, 1), (3, 1, 1, 5)])
def test_scores_of_classes_are_a_row(shape):
    scores = random(*shape)
    assert np.array_equal(decoded(DEFAULTS["classification"], [scores]), scores.reshape(3, 5))


@given(st.sampled_from([(0.0, 1.0), (0.0, 255.0), (127.5, 127.5)]), st.booleans(), st.booleans())
def test_enlarged_colours_become_luminance(preprocessing, is_first, is_bgr):
    mean, std = preprocessing
    pixels = np.random.default_rng(1).integers(0, 256, (2, 2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    output = (pixels.astype(np.float32) - mean) / std
    output = output[..., ::-1] if is_bgr else output
    output = output.transpose(CHANNELS_FIRST) if is_first else output
    told = {"mean": mean, "std": std, "colours": "bgr" if is_bgr else "rgb"}
    found = decoded(DEFAULTS["super_resolution"], [output], **told)
    assert np.array_equal(found[..., 0], luminance(pixels))


def test_enlarged_luminance_is_in_grey_levels():
    output = random(1, 1, 2 * HEIGHT, 2 * WIDTH)
    found = decoded(DEFAULTS["super_resolution"], [output], "nchw", std=255.0)
    assert np.allclose(found, 255 * output.transpose(0, 2, 3, 1))
    refused(
        lambda: decoded(DEFAULTS["super_resolution"], [random(1, 1, HEIGHT, WIDTH)]),
        "super_resolution",
        "2 times",
    )


def test_what_is_scored_already_passes_and_other_outputs_are_refused():
    rows = random(2, 5, 6)
    assert np.array_equal(decoded(DEFAULTS["detection"], [rows]), rows)
    people = random(2, 3, 52)
    assert np.array_equal(decoded(DEFAULTS["keypoints"], [people]), people)
    for task, columns in (("detection", 6), ("pose", 52)):
        said = ("add decode", '"module:function"', str(columns))
        refused(lambda task=task: decoded(DEFAULTS[task], [random(1, 9, 4), rows]), *said)


BOXES = st.tuples(st.integers(0, 3), st.integers(0, 15), st.integers(0, 23))


@given(BOXES, st.floats(1, 4), st.floats(1, 4), st.floats(0, 0.99), st.floats(0, 0.99))
def test_ctdet_finds_the_box_that_its_authors_encode(where, w, h, dx, dy):
    category, y, x = where
    heat = np.full((1, 4, 16, 24), -9.0)
    heat[0, category, y, x] = 4
    size, offset = np.zeros((2, 1, 2, 16, 24))
    size[0, :, y, x], offset[0, :, y, x] = (w, h), (dx, dy)
    row = decoded(DECODERS["detection"]["ctdet"], [heat, size, offset])[0, 0]
    box = np.array([y + dy - h / 2, x + dx - w / 2, y + dy + h / 2, x + dx + w / 2])
    assert row[0] == category
    assert row[2:] == pytest.approx(np.clip(box / (16, 24, 16, 24), 0, 1), abs=1e-5)


@given(st.integers(0, 2), st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.1, 0.3))
def test_boxes_of_parts_and_of_pixels_are_those_of_the_picture(category, x, y, w):
    box = pytest.approx([y - 0.1, x - w / 2, y + 0.1, x + w / 2], abs=1e-5)
    logits = np.full((1, 2, 4), -5.0)
    logits[0, 0, category] = logits[0, 1, 3] = 5  # the second is no object
    boxes = np.array([[[x, y, w, 0.2], [0.5, 0.5, 0.1, 0.1]]])
    rows = decoded(DECODERS["detection"]["detr"], [logits, boxes])[0]
    assert (rows[0, 0], rows[0, 2:]) == (category, box)
    assert rows[0, 1] > 0.99 > 0.01 > rows[1, 1]

    raw = np.zeros((1, 4 + 3, 9))
    raw[0, :4, 5] = x * WIDTH, y * HEIGHT, w * WIDTH, 0.2 * HEIGHT
    raw[0, :4, 6] = raw[0, :4, 5] + 0.1  # the same object once more, less sure
    raw[0, 4 + category, 5:7] = 0.9, 0.6
    rows = decoded(DECODERS["detection"]["yolo"], [raw])[0]
    assert (rows[0, 0], rows[0, 2:]) == (category, box)
    assert rows[0, 1] == pytest.approx(0.9)
    assert (rows[1:, 1] == -1).all()


@given(
    st.integers(0, 2),
    st.floats(0.2, 0.8),
    st.floats(0.2, 0.8),
    st.floats(0.1, 0.3),
    st.sampled_from(["xyxy", "yxyx"]),
    st.sampled_from(["fraction", "pixels"]),
    st.sampled_from(["none", "first", "last"]),
    st.booleans(),
)
def test_corners_are_found_however_they_are_written(
    category, x, y, w, box_order, box_unit, background, scores_first
):
    corners = np.array([y - 0.1, x - w / 2, y + 0.1, x + w / 2])
    boxes = np.tile(corners, (1, 9, 1))
    boxes[0, 5] += 0.01  # the same object once more, less sure
    boxes = boxes * np.tile((HEIGHT, WIDTH), 2) if box_unit == "pixels" else boxes
    boxes = boxes if box_order == "yxyx" else boxes[..., [1, 0, 3, 2]]
    scores = np.zeros((1, 9, 5))
    at = {"none": 0, "first": 1, "last": 0}[background]
    scores[0, :, {"none": 4, "first": 0, "last": 4}[background]] = 1 if background != "none" else 0
    scores[0, 4:6, at + category] = 0.9, 0.6
    outputs = [scores, boxes[..., None, :]] if scores_first else [boxes, scores]
    head = {"box_order": box_order, "box_unit": box_unit, "background": background}
    rows = decoded(DECODERS["detection"]["corners"], outputs, head=head)[0]
    assert rows[0, 0] == category
    assert rows[0, 1] == pytest.approx(0.9)
    assert rows[0, 2:] == pytest.approx(np.clip(corners, 0, 1), abs=1e-4)
    assert (rows[1:, 1] == -1).all()


def test_corners_and_scores_of_another_unit_are_refused():
    place = DECODERS["detection"]["corners"]
    boxes, scores = np.full((1, 9, 4), 30.0), random(1, 9, 2)
    refused(lambda: decoded(place, [boxes, scores]), "box_unit", "pixels")
    refused(lambda: decoded(place, [boxes / 100, scores - 3]), "softmax", "-2.9")
    refused(lambda: decoded(place, [boxes, random(1, 8, 2)]), "as many boxes as scores")


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 6))
def test_movenet_rows_are_places_of_the_picture(y, x, people):
    rows = np.tile([y, x, 0.7], (2, people, 17, 1))
    for task in ("keypoints", "pose"):
        found = decoded(DECODERS[task]["movenet"], [rows])
        assert found.shape == (2, people, 52)
        wanted = [y * HEIGHT - 0.5, x * WIDTH - 0.5, 0.7]
        assert found[0, 0, 0] == pytest.approx(0.7)
        assert found[0, 0, 1:].reshape(17, 3) == pytest.approx(np.tile(wanted, (17, 1)), abs=1e-4)


@pytest.mark.parametrize("axis", [None, 1, 3])
def test_a_map_of_class_numbers_is_scored_as_what_it_names(axis):
    numbers = np.random.default_rng(0).integers(0, 4, (2, HEIGHT, WIDTH)).astype(np.float32)
    output = numbers if axis is None else np.expand_dims(numbers, axis)
    scores = decoded(DEFAULTS["segmentation"], [output], classes=4)
    assert scores.shape == (2, HEIGHT, WIDTH, 4)
    assert np.array_equal(scores.argmax(-1), numbers)
    assert np.array_equal(scores.sum(-1), np.ones_like(numbers))
    refused(lambda: decoded(DEFAULTS["segmentation"], [output], classes=None), "classes = NUMBER")


def test_tf_detections_count_classes_from_one():
    boxes, scores = random(1, 3, 4), np.array([[0.9, 0.8, 0.0]])
    outputs = [boxes, scores, np.array([[2.0, 1.0, 1.0]]), np.array([2.0])]
    rows = decoded(DECODERS["detection"]["tf_detection"], outputs)[0]
    assert rows[:, 0].tolist()[:2] == [1, 0]
    assert rows[:, 1] == pytest.approx([0.9, 0.8, -1])
    assert np.allclose(rows[:2, 2:], boxes[0, :2])


def test_a_darknet_file_tells_its_own_anchors():
    head = YoloHead(((24.0, 16.0),), 2, 1.0, False, 0)
    maps = np.full((1, 8, 12, 7), -9.0)
    maps[0, 3, 5] = [0, 0, 0, 0, 9, -9, 9]  # in the middle of its cell, as large as the anchor
    row = decoded(DEFAULTS["detection"], [maps], heads=[head])[0, 0]
    y, x = 3.5 * HEIGHT / 8, 5.5 * WIDTH / 12
    box = np.array([y - 8, x - 12, y + 8, x + 12]) / (HEIGHT, WIDTH, HEIGHT, WIDTH)
    assert row[0] == 1
    assert row[2:] == pytest.approx(box, abs=1e-4)


@given(st.integers(1, 14), st.integers(1, 22), st.booleans())
def test_a_heatmaps_peak_is_a_place_of_the_picture(y, x, is_first):
    maps = np.zeros((1, 16, 24, 17))
    maps[0, y, x] = 0.8
    maps[0, y, x + 1] = 0.1
    output = maps.transpose(CHANNELS_FIRST) if is_first else maps
    person = decoded(DECODERS["keypoints"]["heatmaps"], [output])[0, 0]
    assert person[0] == pytest.approx(0.8)
    points = person[1:].reshape(17, 3)
    wanted = [(y + 0.5) * 4 - 0.5, (x + 0.75) * 4 - 0.5, 0.8]
    assert points == pytest.approx(np.tile(wanted, (17, 1)), abs=1e-4)


HEADS = [(task, name) for task, names in DECODERS.items() for name in names]


@pytest.mark.parametrize(("task", "name"), HEADS, ids=range(len(HEADS)))
def test_a_known_head_names_the_outputs_that_it_takes(task, name):
    told = {"class_names": ("a", "b"), "head": {"blank": "first"}} if name == "ctc" else {}
    said = refused(lambda: decoded(DECODERS[task][name], [random(1, 5, 5)], **told), "5, 5")
    assert name in said


def test_boxes_before_the_sigmoid_are_refused():
    logits, boxes = random(1, 2, 4), np.array([[[-2.0, 3, 1, 0], [0, 0, 0, 0]]])
    refused(lambda: decoded(DECODERS["detection"]["detr"], [logits, boxes]), "sigmoid", "-2..3")
