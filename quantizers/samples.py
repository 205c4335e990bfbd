"""Calibration samples as networks take them, written batch by batch. Runs in the worker process:
pictures of a user are files like any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.calibration_data.folders import FolderSamples
from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.calibration_data.sample_set import SampleSet

SAMPLES = "samples.npy"
BATCH = 32  # samples drawn at a time


def prepare(
    drawn: SampleSet, preprocessing: Preprocessing, as_pixels: bool, directory: Path
) -> None:
    """Writes `directory`/samples.npy, (n, height, width, channels): pixels or network inputs."""
    batches = (
        images if as_pixels else preprocessing.apply(images) for images, _ in drawn.batches(BATCH)
    )
    _write_batches(directory / SAMPLES, batches, len(drawn))


def check_pictures(samples: FolderSamples, directory: Path) -> None:
    """Reads every picture and label; raises one ValueError with all that is wrong with them."""
    samples.check()


def _write_batches(path: Path, batches: Iterator[np.ndarray], count: int) -> None:
    """An `.npy` file of `count` samples, of which a batch at a time is in memory.

    Not through a memory map: a full disk would be a bus error.
    """
    first = next(batches)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (count, *first.shape[1:]),
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in itertools.chain([first], batches):
            file.write(np.ascontiguousarray(batch, first.dtype).data)
