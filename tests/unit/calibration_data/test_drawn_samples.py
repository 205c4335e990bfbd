"""Pictures that were drawn once are the same, with their labels, and are read, not drawn."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from int8gate.calibration_data.drawn_samples import DrawnSamples, is_kept, write
from int8gate.calibration_data.sample_set import Subset
from int8gate.calibration_data.synthetic import detection_scenes, scenes

COUNT = 53  # more than one batch


def drawn(task: str):
    if task == "detection":
        return detection_scenes.DetectionScenes("evaluation", (48, 64), 3, COUNT)
    return scenes.DigitScenes(task, "evaluation", (40, 48), 1, COUNT)


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_what_is_read_is_what_was_drawn(tmp_path, task):
    samples = drawn(task)
    write(samples, tmp_path)
    read = pickle.loads(pickle.dumps(DrawnSamples(samples, tmp_path)))  # it goes to the worker
    assert (len(read), read.name, read.digest()) == (COUNT, samples.name, samples.digest())
    np.testing.assert_array_equal(read.sources, samples.sources)
    for (arrays, labels), (wanted, of_wanted) in zip(
        read.feeds(20), samples.feeds(20), strict=True
    ):
        assert arrays["image"].dtype == wanted["image"].dtype
        np.testing.assert_array_equal(arrays["image"], wanted["image"])
        np.testing.assert_array_equal(labels, of_wanted)
        assert labels.dtype == of_wanted.dtype
    few = Subset(read, 7)
    assert few.digest() == Subset(samples, 7).digest()
    np.testing.assert_array_equal(few.image(3), Subset(samples, 7).image(3))


def test_reading_draws_nothing(tmp_path, monkeypatch):
    samples = drawn("classification")
    write(samples, tmp_path)
    read = DrawnSamples(samples, tmp_path)
    monkeypatch.setattr(type(samples), "_draw", None)
    assert len(list(read.feeds(10))) == 6


@pytest.mark.parametrize(("side", "wanted"), [(128, True), (160, True), (224, False)])
def test_a_set_of_native_size_is_too_large_for_a_file(side, wanted):
    """4,000 pictures of 224 x 224 are 600 MB."""
    assert is_kept(scenes.draw("classification", "evaluation", (side, side), 3)) is wanted
