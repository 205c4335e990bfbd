"""A TensorFlow SavedModel on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class SavedModelSession:
    """The `serving_default` signature of a SavedModel whose batch dimension is 1."""

    def __init__(self, directory: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(directory))
        self._serve = self._loaded.signatures["serving_default"]

    def predict(self, batch: np.ndarray) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...), a sample at a time."""
        import tensorflow as tf

        rows = [
            list(self._serve(tf.constant(sample[None], tf.float32)).values()) for sample in batch
        ]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]
