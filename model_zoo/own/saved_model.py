"""The serving signature of a SavedModel."""

from __future__ import annotations

from pathlib import Path

SERVING = "serving_default"


def signature(folder: Path):
    """The `serving_default` signature, a `tf.function` that keeps its model alive.

    Raises ValueError naming the folder for one that is no SavedModel or that has no such signature.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # of protobuf, of the file system, of TensorFlow's C++
        said = " ".join(str(error).split())
        raise ValueError(
            f"{folder} is no whole SavedModel ({said[:160]}): export it again"
        ) from error
    if SERVING not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise ValueError(
            f"{folder} has no signature {SERVING} (found {known}): save it with "
            "signatures={'serving_default': ...}"
        )
    serve = loaded.signatures[SERVING]
    serve.loaded = loaded
    return serve
