"""The project's own pictures as they were drawn once: models that take the same ones share a file.

Drawing 4,000 scenes takes ten seconds of a core, reading them back a fraction of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from int8gate.calibration_data.sample_set import PICTURE, SampleSet

PICTURES, LABELS = "pictures.npy", "labels.npy"
BATCH = 50  # pictures drawn at a time
MOST_BYTES = 320_000_000  # of a set that is kept


class DrawnSamples(SampleSet):
    """What `write` wrote of a set of pictures, in its `directory`; all else is the set's own."""

    def __init__(self, drawn: SampleSet, directory: Path) -> None:
        self._drawn, self._directory = drawn, directory
        self.name, self.notes, self.has_labels = drawn.name, drawn.notes, drawn.has_labels

    def __len__(self) -> int:
        return len(self._drawn)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_arrays"}

    @property
    def sources(self) -> np.ndarray:
        return self._drawn.sources

    @property
    def groups(self) -> np.ndarray | None:
        return self._drawn.groups

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pictures, labels = self._arrays
        return np.array(pictures[index]), labels[index]

    def digest(self) -> str:
        return self._drawn.digest()

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 (n, h, w, channels), read as they are asked for, and labels (n, ...)."""
        pictures = np.load(self._directory / PICTURES, mmap_mode="r", allow_pickle=False)
        return pictures, np.load(self._directory / LABELS, allow_pickle=False)


def is_kept(samples: SampleSet) -> bool:
    """Whether a set is one of pictures, and not too large for a file."""
    arrays, _ = samples.named(0)
    return arrays.keys() == {PICTURE} and len(samples) * arrays[PICTURE].nbytes <= MOST_BYTES


def write(drawn: SampleSet, directory: Path) -> None:
    """Writes `directory`/pictures.npy (n, h, w, channels) and labels.npy (n, ...)."""
    labels = []

    def pictures() -> Iterator[np.ndarray]:
        for batch, of_batch in drawn.batches(BATCH):
            labels.append(of_batch)
            yield batch

    write_batches(directory / PICTURES, pictures(), len(drawn))
    np.save(directory / LABELS, np.concatenate(labels))


def write_batches(path: Path, batches: Iterator[np.ndarray], count: int) -> None:
    """An `.npy` file of `count` rows, of which a batch at a time is in memory.

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
