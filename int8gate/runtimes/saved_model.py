"""A TensorFlow SavedModel on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import TensorSpec, in_order
from int8gate.runtimes.session import UNKNOWN, Session


class SavedModelSession(Session):
    """The `serving_default` signature of a SavedModel whose batch dimension is 1."""

    def __init__(self, directory: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(directory))
        self._serve = self._loaded.signatures["serving_default"]
        ends = self._serve.structured_input_signature[1], self._serve.structured_outputs
        super().__init__(directory, *([_spec(n, end[n]) for n in in_order(end)] for end in ends))
        self._inputs, self._results = {}, {}

    def set_input(self, position: int, value: np.ndarray) -> None:
        import tensorflow as tf

        self._inputs[self.inputs[position].name] = tf.constant(value)

    def invoke(self) -> None:
        self._results = self._serve(**self._inputs)

    def get_outputs(self) -> list[np.ndarray]:
        return [self._results[spec.name].numpy() for spec in self.outputs]


def _spec(name: str, tensor) -> TensorSpec:
    sides = tensor.shape.as_list() if tensor.shape.rank is not None else []
    shape = tuple(UNKNOWN if side is None else side for side in sides)
    return TensorSpec(name, shape, tensor.dtype.name)
