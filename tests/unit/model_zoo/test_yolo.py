"""YOLO: the network that a cfg describes, its targets and loss, decoding and suppression."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.families.yolov4_tiny import training as yolo
from int8gate.model_zoo.families.yolov4_tiny.decoding import (
    LEAST_SCORE,
    MOST_DETECTIONS,
    OVERLAP,
    boxes_and_scores,
    detections,
)
from int8gate.model_zoo.families.yolov4_tiny.network import (
    darknet_source,
    decode,
    heads,
    yolov4_tiny,
)
from int8gate.model_zoo.importers.darknet.cfg import YoloHead
from int8gate.model_zoo.importers.darknet.importer import import_darknet
from int8gate.model_zoo.spec import Network

CLASSES = 3
ANCHORS = ((8, 12), (12, 20), (20, 20), (30, 40), (40, 30), (50, 60))
TINY = Network(
    "",
    (64, 96, 3),
    (64, 96),
    CLASSES,
    arguments={"anchors": ANCHORS, "masks": ((3, 4, 5), (0, 1, 2)), "width": 0.1},
)
SPEC = SimpleNamespace(network=lambda profile: TINY)
CELLS = ((2, 3), (4, 6))


def tiny_network():
    return yolov4_tiny(TINY.input_shape, CLASSES, **TINY.arguments)


def random_maps(rng, count: int = 2, spread: float = 2.0) -> list[np.ndarray]:
    shapes = [(count, *cells, 3 * (5 + CLASSES)) for cells in CELLS]
    return [rng.normal(0, spread, shape).astype(np.float32) for shape in shapes]


def iou(one, other) -> float:
    height, width = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    common = max(height, 0) * max(width, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return common / max(areas - common, 1e-9)


def test_the_official_network_takes_as_many_floats_as_its_file_holds():
    """The file that its authors publish has 24,251,276 bytes, 20 of them a header."""
    network = yolov4_tiny((416, 416, 3), 80)
    count = sum(t.numel() for _, layer in network.weighted() for _, t in layer.in_file_order())
    assert 4 * count + 20 == 24_251_276
    assert [network.shapes[head.number] for head in network.heads] == [(255, 13, 13), (255, 26, 26)]


def test_maps_are_raw_and_channels_last():
    network = tiny_network().eval()
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, *TINY.size))
    assert [tuple(part.shape) for part in maps] == [(2, *cells, 24) for cells in CELLS]
    assert network.heads == heads(TINY)
    assert decode([part.numpy() for part in maps], TINY).shape == (2, MOST_DETECTIONS, 6)


def test_its_darknet_pair_computes_the_same(tmp_path):
    torch.manual_seed(0)
    network = tiny_network().eval()
    cfg = darknet_source(network, TINY, tmp_path)
    again = import_darknet(cfg, cfg.with_suffix(".weights"))
    image = torch.rand(1, 3, *TINY.size)
    with torch.no_grad():
        for ours, theirs in zip(network(image), again(image), strict=True):
            assert torch.equal(ours, theirs)


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_boxes_are_those_of_darknets_formula(seed):
    rng = np.random.default_rng(seed)
    head = YoloHead(((8.0, 12.0), (20.0, 16.0)), CLASSES, 1.1, False, 0)
    values = rng.normal(0, 2, (1, 2, 3, 16)).astype(np.float32)
    boxes, scores = boxes_and_scores(values, head, TINY.size)
    place = 0
    for row in range(2):
        for column in range(3):
            for number, (anchor_width, anchor_height) in enumerate(head.anchors):
                tx, ty, tw, th, surety, *classes = values[0, row, column, 8 * number :][:8]
                x = (column + sigmoid(tx) * 1.1 - 0.05) / 3
                y = (row + sigmoid(ty) * 1.1 - 0.05) / 2
                width, height = anchor_width * exp(tw) / 96, anchor_height * exp(th) / 64
                box = [y - height / 2, x - width / 2, y + height / 2, x + width / 2]
                np.testing.assert_allclose(boxes[0, place], np.clip(box, 0, 1), atol=1e-5)
                wanted = [sigmoid(surety) * sigmoid(value) for value in classes]
                np.testing.assert_allclose(scores[0, place], wanted, atol=1e-5)
                place += 1


def test_new_coordinates_are_squashed_by_the_network():
    head = YoloHead(((8.0, 16.0),), 1, 2.0, True, 0)
    values = np.array([0.5, 0.25, 0.5, 0.75, 0.8, 0.5], np.float32).reshape(1, 1, 1, 6)
    boxes, scores = boxes_and_scores(values, head, (64, 64))
    height, width = 16 * 1.5**2 / 64, 8 / 64
    middle_y, middle_x = 0.25 * 2 - 0.5, 0.5
    box = [middle_y - height / 2, middle_x - width / 2, middle_y + height / 2, middle_x + width / 2]
    np.testing.assert_allclose(boxes[0, 0], np.clip(box, 0, 1), atol=1e-6)
    assert scores[0, 0, 0] == pytest.approx(0.4)


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_suppression_keeps_a_box_unless_a_surer_one_of_its_class_covers_it(seed):
    maps = random_maps(np.random.default_rng(seed), count=1)
    (found,) = detections(maps, heads(TINY), TINY.size)
    kept = found[found[:, 1] >= 0]
    assert (np.diff(kept[:, 1]) <= 0).all()
    decoded = [boxes_and_scores(m, h, TINY.size) for m, h in zip(maps, heads(TINY), strict=True)]
    boxes, scores = (np.concatenate(parts, axis=1)[0] for parts in zip(*decoded, strict=True))
    expected = []
    for category in range(CLASSES):
        own = []
        for place in np.argsort(-scores[:, category], kind="stable"):
            score = scores[place, category]
            if score > LEAST_SCORE and all(iou(boxes[place], b) <= OVERLAP for _, b in own):
                own.append((score, boxes[place]))
        expected += [[category, score, *box] for score, box in own]
    expected = sorted(expected, key=lambda row: -row[1])[:MOST_DETECTIONS]
    np.testing.assert_allclose(kept, expected, atol=1e-6)


def test_any_weights_give_finite_boxes():
    maps = [part * 1e4 for part in random_maps(np.random.default_rng(0))]
    found = detections(maps, heads(TINY), TINY.size)
    assert np.isfinite(found).all()
    assert (found[..., 2:4] <= found[..., 4:])[found[..., 1] >= 0].all()


@st.composite
def labels(draw, most: int = 3) -> np.ndarray:
    """Labels (1, most, 5) of boxes whose centres lie in different cells of both maps."""
    rows = np.full((1, most, 5), -1, np.float32)
    places = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=most, unique=True
        )
    )
    for row, (y, x) in zip(rows[0], places, strict=False):
        centre = np.array([y, x]) + draw(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
        half = np.array(draw(st.tuples(st.integers(5, 30), st.integers(5, 30)))) / 2
        row[0] = draw(st.integers(0, CLASSES - 1))
        row[1:3] = centre / [2, 3] - half / TINY.size
        row[3:] = centre / [2, 3] + half / TINY.size
    return rows


def maps_of(targets: tuple) -> list[np.ndarray]:
    """Raw maps of a network that has learned its targets: Darknet's formula turned round."""
    maps = []
    for target, head, cells in zip(targets, heads(TINY), CELLS, strict=False):
        values = np.zeros((*target.shape[:4], 5 + CLASSES))
        values[..., 4] = -9
        for sample, row, column, number in np.argwhere(target[..., 5] > 0):
            ymin, xmin, ymax, xmax, category, _ = target[sample, row, column, number]
            centre = np.array([xmin + xmax, ymin + ymax]) / 2 * cells[::-1] - [column, row]
            squashed = (centre + (head.scale_x_y - 1) / 2) / head.scale_x_y
            extent = np.array([xmax - xmin, ymax - ymin]) * TINY.size[::-1]
            logits = np.where(np.arange(CLASSES) == category, 9, -9)
            values[sample, row, column, number] = [
                *np.log(squashed / (1 - squashed)),
                *np.log(extent / head.anchors[number]),
                9,
                *logits,
            ]
        maps.append(values.reshape(*values.shape[:3], -1).astype(np.float32))
    return maps


@given(labels())
@settings(max_examples=30, deadline=None)
def test_decoding_undoes_encoding(label):
    """Every box has an anchor that answers for it; equal answers of several become one."""
    found = decode(maps_of(yolo.encode(SPEC, label)), TINY)[0]
    sure = found[found[:, 1] > 0.9]
    real = label[0][label[0, :, 0] >= 0].copy()
    real[:, 1:] = np.clip(real[:, 1:], 0, 1)
    apart = [
        all(iou(a[1:], b[1:]) < OVERLAP or a[0] != b[0] for b in real if b is not a) for a in real
    ]
    for row, alone in zip(real, apart, strict=True):
        if alone:
            distances = np.abs(np.delete(sure, 1, axis=1) - row).max(axis=1)
            assert (distances < 1e-3).sum() == 1


@given(labels())
@settings(max_examples=20, deadline=None)
def test_anchors_that_answer_fit_best_or_well(label):
    *targets, _ = yolo.encode(SPEC, label)
    for row in label[0][label[0, :, 0] >= 0]:
        extent = (row[3:] - row[1:3]) * TINY.size
        fits = [
            min(extent[1], w)
            * min(extent[0], h)
            / (extent.prod() + w * h - min(extent[1], w) * min(extent[0], h))
            for head in heads(TINY)
            for w, h in head.anchors
        ]
        answering = [
            (np.abs(target[..., :4] - row[1:]).max(-1) < 1e-6).any(axis=(0, 1, 2))
            for target in targets
        ]
        # Right at the threshold, or of two that fit alike, float32 may decide either way.
        assume(np.abs(np.array(fits) - yolo.FITS_FROM).min() > 1e-5)
        assume(np.diff(np.sort(fits)[-2:])[0] > 1e-5)
        well = np.array(fits) >= yolo.FITS_FROM
        well[np.argmax(fits)] = True
        np.testing.assert_array_equal(np.concatenate(answering), well)


@given(labels(), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_the_loss_is_less_for_the_targets_themselves(label, seed):
    targets = yolo.encode(SPEC, label)
    rng = np.random.default_rng(seed)
    right = maps_of(targets)
    wrong = [part + rng.normal(0, 2, part.shape).astype(np.float32) for part in right]
    losses = [
        float(
            yolo.loss(SPEC)(
                tuple(torch.from_numpy(np.clip(part, -2.5, 2.5)) for part in parts),
                tuple(map(torch.from_numpy, targets)),
            )
        )
        for parts in (right, wrong)
    ]
    assert 0 <= losses[0] < losses[1]


def test_training_decodes_as_the_host_does():
    maps = random_maps(np.random.default_rng(3), spread=1.0)
    for values, head, cells in zip(maps, heads(TINY), CELLS, strict=True):
        shaped = torch.from_numpy(values.reshape(2, *cells, 3, -1))
        ours = yolo.decoded(shaped, head, TINY.size).clamp(0, 1).flatten(1, 3).numpy()
        theirs, _ = boxes_and_scores(values, head, TINY.size)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    network = tiny_network()
    label = np.full((2, 2, 5), -1, np.float32)
    label[:, 0] = [[0, 0.2, 0.2, 0.5, 0.6], [2, 0.4, 0.3, 0.9, 0.8]]
    targets = tuple(map(torch.from_numpy, yolo.encode(SPEC, label)))
    images = torch.rand(2, 3, *TINY.size)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    history = []
    for _ in range(20):
        found = yolo.loss(SPEC)(network(images), targets)
        optimizer.zero_grad()
        found.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        history.append(float(found.detach()))
    assert history[-1] < 0.5 * history[0]


def test_pictures_without_objects_have_a_finite_loss():
    label = np.full((2, 3, 5), -1, np.float32)
    targets = tuple(map(torch.from_numpy, yolo.encode(SPEC, label)))
    maps = tuple(map(torch.from_numpy, random_maps(np.random.default_rng(0))))
    assert torch.isfinite(yolo.loss(SPEC)(maps, targets))


def test_targets_follow_the_declared_size():
    label = np.full((1, 3, 5), -1, np.float32)
    label[0, 0] = [1, 0.1, 0.1, 0.4, 0.4]
    network = replace(TINY, size=(128, 96), input_shape=(128, 96, 3))
    larger = SimpleNamespace(network=lambda profile: network)
    shapes = [part.shape for part in yolo.encode(larger, label)]
    assert shapes == [(1, 4, 3, 3, 6), (1, 8, 6, 3, 6), (1, 3, 4)]
