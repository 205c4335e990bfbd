"""Calibration samples as networks take them, written batch by batch. Runs in the worker process:
pictures of a user are files like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.opening import ArraySamples
from int8gate.calibration_data.drawn_samples import write_batches
from int8gate.calibration_data.folders import FolderSamples
from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.runtimes.artifact import SAMPLES, SEVERAL

BATCH = 32  # samples drawn at a time


def prepare(
    drawn: SampleSet, preprocessing: Preprocessing, as_pixels: bool, directory: Path
) -> None:
    """Writes `directory`/samples.npy, (n, ...) of the one input: pixels, or what the network takes;
    of several inputs `directory`/samples.npz, ``input_0`` and so on in the network's order.
    """

    def of_input(place: int) -> Iterator[np.ndarray]:
        for arrays, _ in drawn.feeds(BATCH):
            value = list(arrays.values())[place]
            yield value if as_pixels else preprocessing.apply(value)

    count = len(drawn.named(0)[0])
    if count == 1:
        write_batches(directory / SAMPLES, of_input(0), len(drawn))
        return
    whole = {f"input_{place}": np.concatenate(list(of_input(place))) for place in range(count)}
    np.savez(directory / SEVERAL, **whole)


def check_pictures(samples: FolderSamples | ArraySamples, directory: Path) -> None:
    """Reads every sample and label; raises one ValueError with all that is wrong with them."""
    samples.check()
