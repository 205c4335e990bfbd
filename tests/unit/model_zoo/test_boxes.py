"""Overlaps of boxes and suppression, against their definitions, box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_boxes import overlap

from int8gate.model_zoo.boxes import iou, standing

sides = st.floats(0.05, 0.6)
corners = st.floats(0, 0.4)
box = st.builds(lambda y, x, h, w: [y, x, y + h, x + w], corners, corners, sides, sides)


@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_intersection_over_union(boxes, others):
    found = iou(np.array(boxes), np.array(others))
    np.testing.assert_allclose(found, [[overlap(b, o) for o in others] for b in boxes], atol=1e-6)


def test_an_empty_box_overlaps_nothing():
    assert iou(np.full((1, 4), -1.0), np.array([[0.0, 0, 1, 1], [0.2, 0.2, 0.3, 0.3]])).max() == 0


def test_leading_axes_are_pictures():
    low = np.random.default_rng(0).uniform(0, 0.5, (3, 5, 2))
    boxes = np.concatenate([low, low + 0.3], axis=-1)
    found = iou(boxes, boxes[:1])
    assert found.shape == (3, 5, 5)
    np.testing.assert_array_equal(found[2], iou(boxes[2], boxes[0]))


@pytest.mark.parametrize("has_classes", [False, True])
@given(rows=st.lists(st.tuples(box, st.integers(0, 1)), max_size=12), most=st.floats(0.1, 0.9))
def test_what_overlaps_a_better_one_that_stands_goes(has_classes, rows, most):
    boxes, classes = np.array([b for b, _ in rows]).reshape(-1, 4), np.array([c for _, c in rows])
    kept: list[int] = []
    for number, (own, kind) in enumerate(rows):
        rivals = [rows[each][0] for each in kept if not has_classes or rows[each][1] == kind]
        if not any(overlap(own, rival) > most for rival in rivals):
            kept.append(number)
    found = standing(boxes, most, classes if has_classes else None)
    assert np.flatnonzero(found).tolist() == kept
