"""The `SampleSet` of a user's arrays."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np

from int8gate.calibration_data import sample_set
from int8gate.calibration_data.arrays.inputs import Input
from int8gate.calibration_data.arrays.reading import Rows
from int8gate.calibration_data.arrays.splitting import sources_of
from int8gate.calibration_data.folders.soundness import problems_of, refuse_all
from int8gate.calibration_data.folders.splits import content_of
from int8gate.engine import code_identity

NO_LABEL = -1


class ArraySamples(sample_set.SampleSet):
    """Chosen rows of a user's arrays, each an array for every input of the network.

    `names` are those of the inputs' arrays in the data, `labels` (n, ...) of all rows, None
    without any.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        rows: Rows,
        chosen: np.ndarray,
        inputs: tuple[Input, ...],
        names: tuple[str, ...],
        labels: np.ndarray | None,
    ):
        self.name, self.rows, self.chosen = name, rows, chosen
        self.inputs, self.names, self._labels = inputs, names, labels

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def has_labels(self) -> bool:
        return self._labels is not None

    @cached_property
    def sources(self) -> np.ndarray:
        """Int (n,): samples of one source share it."""
        return np.unique(sources_of(self.rows), return_inverse=True)[1][self.chosen]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The first input's array and the label."""
        arrays, label = self.named(index)
        return arrays[self.inputs[0].name], label

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """An array for every input, of its shape (without a batch) and dtype, and the label."""
        number = int(self.chosen[index])
        row = self.rows.row(number)
        where = f"{self.rows.place.name}: sample {number}"
        arrays = {
            given.name: given.taken(row[name], f"{where}, array {name},")
            for given, name in zip(self.inputs, self.names, strict=True)
        }
        label = NO_LABEL if self._labels is None else self._labels[number]
        return arrays, np.asarray(label)

    def check(self) -> None:
        """Reads every sample; raises one ValueError with all that is wrong."""
        refuse_all(problems_of(self.named, len(self)), self.name, "samples")

    def digest(self) -> str:
        """Hex sha256 of what determines every array and label: files, rows, inputs, code."""
        content = hashlib.sha256(self.code().encode())
        content.update(repr((self.inputs, self.names)).encode())
        for file in self.rows.files:
            content.update(content_of(file).encode())
        if self.rows.features:
            content.update(repr(code_identity.identity(self.rows.features)).encode())
        content.update(self.chosen.tobytes())
        if self._labels is not None:
            labels = np.asarray(self._labels)
            content.update(f"{labels.dtype} {labels.shape}".encode() + labels.tobytes())
        return content.hexdigest()
