"""Which preprocessing a classifier was trained on, told from labels."""

from __future__ import annotations

import numpy as np
import onnx_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inked_digits import CLASSES, painted, write_model

from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT, UNIT, Hooked, Preprocessing
from int8gate.calibration_data.sample_set import SampleSet, Subset
from int8gate.model_zoo.spec import Network
from int8gate.validation.preprocessing_mismatch import (
    FEWEST_WRONG,
    IMAGENET,
    RANGES,
    alternatives,
    right_answers,
    significantly_better,
)

COUNT = 200
seeds = st.integers(0, 2**32 - 1)


class Pictures(SampleSet):
    """Class by class, as a folder has them."""

    name = "pictures"

    def __init__(self, pictures: np.ndarray, labels: np.ndarray):
        order = np.argsort(labels, kind="stable")
        self.pictures, self.labels = pictures[order], labels[order]
        self.sources = np.arange(len(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.pictures[index], self.labels[index]


@pytest.fixture(scope="module")
def inked(tmp_path_factory):
    """A classifier fitted on pixels of 0..1 as RGB, and pictures that it has not seen."""
    path = tmp_path_factory.mktemp("model") / "inked.onnx"
    write_model(path, *painted("train"))
    return path, Pictures(*painted("evaluation"))


def test_the_range_that_it_was_trained_on_is_right_most_often(inked):
    model, pictures = inked
    few = Subset(pictures, COUNT)
    others = alternatives(PIXELS, 3) | {"declared": PIXELS}
    network = Network("", pictures.pictures.shape[1:], pictures.pictures.shape[1:3], CLASSES)
    found = right_answers(model, few, others, None, network)
    rates = {name: np.mean(right) for name, right in found.items()}
    assert all(len(right) == COUNT for right in found.values())
    assert rates["pixels of 0..1"] > 0.8
    assert max(rates, key=rates.get) == "pixels of 0..1"
    best, given = (np.array(found[name]) for name in ("pixels of 0..1", "declared"))
    assert significantly_better(given, best)
    assert not significantly_better(best, given)


def test_nothing_is_better_than_what_it_was_trained_on(inked):
    model, pictures = inked
    others = alternatives(UNIT, 3) | {"declared": UNIT}
    network = Network("", pictures.pictures.shape[1:], pictures.pictures.shape[1:3], CLASSES)
    found = right_answers(model, Subset(pictures, COUNT), others, None, network)
    declared = np.array(found.pop("declared"))
    assert not any(significantly_better(declared, np.array(right)) for right in found.values())


def test_an_answer_that_is_no_number_is_wrong(tmp_path):
    """Of a network with a root, fed pixels below zero."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
root (float[1, 3, 2, 2] image) => (float[1, 2] scores) {
    roots = Sqrt (image)
    flat = Flatten (roots)
    scores = MatMul (flat, w)
}
"""
    weights = {"w": np.stack([np.ones(12), -np.ones(12)], axis=1).astype(np.float32)}
    onnx_files.save(onnx_files.with_weights(text, weights), tmp_path / "root.onnx")
    pictures = Pictures(np.full((40, 2, 2, 3), 9, np.uint8), np.zeros(40, int))
    network = Network("", (2, 2, 3), (2, 2), 2)
    asked = {"roots": UNIT, "no numbers": SIGNED_UNIT}
    found = right_answers(tmp_path / "root.onnx", pictures, asked, None, network)
    assert found == {"roots": [True] * 40, "no numbers": [False] * 40}


@pytest.mark.parametrize("declared", [PIXELS, UNIT, SIGNED_UNIT, IMAGENET])
def test_others_are_never_the_declared_one(declared):
    assert declared not in alternatives(declared, 3).values()
    assert len(alternatives(declared, 3)) == len(RANGES), "one less, and the exchanged colours"


def test_the_same_within_half_a_level_is_the_declared_one():
    assert "pixels of -1..1" not in alternatives(Preprocessing(127.5, 127.6), 3)
    assert "pixels of 0..1" not in alternatives(Preprocessing((0, 0, 0), (255, 255, 255)), 3)
    assert "pixels of 0..1" in alternatives(Preprocessing(0, 250), 3)


def test_grey_pictures_have_no_order_and_a_hook_no_range():
    assert set(alternatives(UNIT, 1)) == {"pixels of 0..255", "pixels of -1..1"}
    assert set(alternatives(Hooked(0.0, 1.0, "m:f"), 3)) == {"red and blue exchanged"}


@given(st.sampled_from([PIXELS, UNIT, SIGNED_UNIT, IMAGENET]), seeds)
@settings(max_examples=20, deadline=None)
def test_exchanged_pictures_come_out_as_if_stored_so(declared, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 5, 5, 3), np.uint8)
    exchanged = alternatives(declared, 3)["red and blue exchanged"]
    np.testing.assert_array_equal(exchanged.apply(pixels[..., ::-1]), declared.apply(pixels))
    assert repr(exchanged) != repr(declared), "they share no cache entry"


@given(st.integers(20, 300), seeds)
@settings(max_examples=50, deadline=None)
def test_equal_models_are_not_better(count, seed):
    rng = np.random.default_rng(seed)
    right = rng.random(count) < rng.random()
    assert not significantly_better(right, right)
    shuffled = right.copy()
    few = rng.permutation(count)[: FEWEST_WRONG - 1]
    shuffled[few] = True
    assert not significantly_better(right, shuffled), "too few gained to be significant"


def test_a_large_gain_is_significant_and_its_reverse_is_not():
    declared = np.arange(200) < 100
    other = np.arange(200) < 130
    assert significantly_better(declared, other)
    assert not significantly_better(other, declared)


def test_chance_is_rarely_significant():
    rng = np.random.default_rng(0)
    runs = [rng.random((2, 200)) < 0.6 for _ in range(2000)]
    assert np.mean([significantly_better(one, other) for one, other in runs]) < 0.002


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 80))
def test_a_subset_is_from_all_over_and_the_same_each_time(count, most):
    labels = np.arange(count) // 7
    whole = Pictures(np.arange(count, dtype=np.uint8)[:, None, None, None], labels)
    few, again, fewer = (Subset(whole, n) for n in (most, most, max(1, most - 1)))
    assert len(few) == min(count, most)
    assert (np.diff(few.rows) > 0).all()
    np.testing.assert_array_equal(few.rows, again.rows)
    assert set(fewer.rows) <= set(few.rows)
    assert (few.digest() == fewer.digest()) == (len(few) == len(fewer))
    assert few.sample(0)[1] == labels[few.rows[0]]
    assert list(few.sources) == list(few.rows)


def test_a_subset_has_every_class():
    labels = np.repeat(np.arange(10), 100)
    few = Subset(Pictures(np.zeros((1000, 1, 1, 1), np.uint8), labels), COUNT)
    assert {int(few.sample(row)[1]) for row in range(COUNT)} == set(range(10))
