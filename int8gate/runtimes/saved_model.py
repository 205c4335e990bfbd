"""A TensorFlow SavedModel on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import in_order


class SavedModelSession:
    """The `serving_default` signature of a SavedModel whose batch dimension is 1."""

    def __init__(self, directory: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(directory))
        self._serve = self._loaded.signatures["serving_default"]
        self._inputs = in_order(self._serve.structured_input_signature[1])

    def predict(self, *batches: np.ndarray) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...), a sample at a time."""
        import tensorflow as tf

        rows = []
        for position in range(len(batches[0])):
            feed = {
                name: tf.constant(batch[position][None].astype(np.float32))
                for name, batch in zip(self._inputs, batches, strict=True)
            }
            outputs = self._serve(**feed)
            rows.append([outputs[name] for name in in_order(outputs)])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]
