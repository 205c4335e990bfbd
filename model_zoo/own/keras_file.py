"""A Keras model from a file of a user, without running code that stands in it."""

from __future__ import annotations

from pathlib import Path

CODE = ("Lambda", "lambda", "safe_mode", "deserialization")  # in what Keras says of refused code
MOST_SAID = 160  # characters of what Keras says, which may be pages


def load(file: Path):
    """The `keras.Model` of a `.keras` or `.h5` file, for inference.

    Raises ValueError naming the file: for a damaged one, for layers that would run code of the file
    (Lambda) or that Keras does not know, and for weights without a network.
    """
    import keras

    try:
        model = keras.saving.load_model(str(file), compile=False, safe_mode=True)
    except Exception as error:  # of zipfile, h5py, json and Keras: there is no common one
        raise ValueError(f"{file}: {_cause(error)}") from error
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"{file} holds no built Keras model: build it with its input and save again"
        )
    return model


def _cause(error: Exception) -> str:
    said = " ".join(str(error).split()) or repr(error)
    reason = said.split(". ")[0].split(": ")[0][:MOST_SAID]
    if any(word in said for word in CODE):
        return (
            "it holds code (a Lambda layer), which is not run from a file: replace the layer by "
            "one of Keras, or export the model as a SavedModel"
        )
    if "No model config found" in said:
        return "it holds weights without a network: save the whole model (model.save)"
    if "Could not locate class" in said or "Unknown layer" in said:
        return f"it has a layer that Keras does not know ({reason}): export it as a SavedModel"
    return f"it is truncated, damaged or no Keras model ({reason}): save it again"
