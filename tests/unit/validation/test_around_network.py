"""Samples in batches: all of them, in order, and drawn once for the evaluations of one set."""

from __future__ import annotations

import numpy as np
import pytest

from int8gate.calibration_data.sample_set import SampleSet
from int8gate.validation import around_network
from int8gate.validation.around_network import batches_of

SIDE = 8
BYTES = SIDE * SIDE * 3  # of a picture


class Counting(SampleSet):
    """Pictures that hold their number, labels likewise; it counts how often one is drawn."""

    name = "counting"

    def __init__(self, count: int) -> None:
        self._count, self.drawn = count, 0
        self.sources = np.arange(count)

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.drawn += 1
        return np.full((SIDE, SIDE, 3), index % 251, np.uint8), np.asarray(index)

    def digest(self) -> str:
        return f"counting {self._count}"


@pytest.fixture(autouse=True)
def nothing_kept():
    around_network.kept_samples.cache_clear()
    yield
    around_network.kept_samples.cache_clear()


def read(samples: Counting, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    batches = list(batches_of(samples, count, size))
    assert all(len(labels) <= size for _, labels in batches)
    pictures = np.concatenate([arrays["image"] for arrays, _ in batches])
    return pictures, np.concatenate([labels for _, labels in batches])


@pytest.mark.parametrize("limit", [0, 10**9], ids=["drawn anew", "kept"])
@pytest.mark.parametrize("length", [1, 49, 50, 51, 120])
@pytest.mark.parametrize("size", [1, 50, 64])
def test_batches_are_the_samples_in_order(monkeypatch, limit, length, size):
    monkeypatch.setattr(around_network, "MOST_BYTES", limit)
    for count in (1, length, length + 5):
        pictures, labels = read(Counting(length), count, size)
        wanted = np.arange(min(count, length))
        np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(pictures[:, 0, 0, 0], wanted % 251)


@pytest.mark.parametrize("length", [120, 4001])
def test_a_set_that_fits_into_memory_is_drawn_once(monkeypatch, length):
    """By its bytes: how many samples it has, or how large one is, says little by itself."""
    monkeypatch.setattr(around_network, "MOST_BYTES", length * BYTES)
    samples = Counting(length)
    for _ in range(3):
        read(samples, length, 50)
    assert samples.drawn <= length + 3, "one more each time, for its size"


def test_a_larger_set_is_not_kept(monkeypatch):
    monkeypatch.setattr(around_network, "MOST_BYTES", 120 * BYTES - 1)
    samples = Counting(120)
    for _ in range(2):
        read(samples, 120, 50)
    assert samples.drawn == 2 * 121
    assert around_network.kept_samples.cache_info().currsize == 0


@pytest.mark.parametrize("picture", [(128, 128, 3), (160, 160, 3)])
def test_four_thousand_pictures_of_the_compact_zoo_are_kept(picture):
    assert 4000 * np.prod(picture) <= around_network.MOST_BYTES
