"""Statistics of every activation tensor of a float TFLite model, in one pass over the samples.

An interpreter frees a tensor's memory, or computes in place, as soon as nobody reads it any more.
Here every activation is declared an output of the graph, so that all of them stand at the end of an
inference with the values that they had, and the fast kernels (XNNPACK) still do the work: with the
interpreter's own switch for this (`experimental_preserve_all_tensors`) they do not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.quantizers.calibration.sample_file import SampleFile, where_to_look
from int8gate.quantizers.calibration.statistics import TensorStatistics, start_of, step_of
from int8gate.quantizers.toolchains.tflite.ranges import activations, with_outputs
from int8gate.runtimes.artifact import in_order


def collect(
    float_model: Path, samples: Path, rows: range | None = None, every: int | None = None
) -> dict[str, TensorStatistics]:
    """Runs the float `.tflite` on the samples; returns statistics by tensor name (`activations`).

    `samples` are float32 arrays (n, ...) in the model's layout, see `SampleFile`; `rows` those to
    run (a shard), all by default. Minimum and maximum, of a tensor and of the channels of one of
    rank 4 (last axis), are exact. `every`: count every that many elements in the histogram, 1 for
    all; by default about `statistics.COUNTED` of a tensor over all samples of the file. Everything
    depends on a sample's number alone, so that shards merge to what one pass finds. The model stays
    open for the next shard until `close` is called or another one is opened.
    Raises ValueError naming tensor and sample where a value is NaN or infinite, and where samples
    and inputs do not fit.
    """
    tensors, interpreter = _open(*_identity(float_model))
    found = {name: TensorStatistics() for name in tensors}
    stored = SampleFile(samples)
    for number, sample in fed(stored, rows, interpreter, float_model.name):
        interpreter.invoke()
        for name, index in tensors.items():
            try:
                # No name for the array: the interpreter runs only when nobody holds its memory.
                _count(found[name], interpreter.tensor(index)(), number, len(stored), every)
            except ValueError as error:
                close()  # for the same reason: the error's traceback holds it
                raise ValueError(
                    f"tensor {name} of {float_model.name} {error} on calibration sample {number}: "
                    f"{where_to_look(sample)}"
                ) from error
    return found


def close() -> None:
    """Frees the model that `collect` keeps open."""
    _open.cache_clear()


def _identity(path: Path) -> tuple:
    found = Path(path).stat()
    return str(path), found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=1)
def _open(path: str, *_changed) -> tuple[dict[str, int], Any]:
    """The model's activations by name, and an interpreter that keeps them."""
    from ai_edge_litert.interpreter import Interpreter

    content = Path(path).read_bytes()
    tensors = activations(content)
    interpreter = Interpreter(model_content=with_outputs(content, tensors.values()), num_threads=1)
    interpreter.allocate_tensors()
    return tensors, interpreter


def fed(
    samples: SampleFile, rows: range | None, interpreter, model: str
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The number and the arrays of each sample, after they were given to the interpreter."""
    inputs = _inputs(interpreter)
    takes = [tuple(int(side) for side in details["shape"][1:]) for details in inputs]
    if takes != samples.shapes:
        raise ValueError(f"{model} takes inputs of {takes}, {samples.path} holds {samples.shapes}")
    for number in range(len(samples)) if rows is None else rows:
        sample = samples.sample(number)
        for details, value in zip(inputs, sample, strict=True):
            interpreter.set_tensor(details["index"], value.astype(details["dtype"], copy=False))
        yield number, sample


def _inputs(interpreter) -> list[dict]:
    """In the order of the signature's names; a file without one signature keeps its own."""
    if len(interpreter.get_signature_list()) != 1:
        return interpreter.get_input_details()
    named = interpreter.get_signature_runner().get_input_details()
    return [named[name] for name in in_order(named)]


# Asked for each tensor of each sample, where many have the same.
_step_of, _start_of = (functools.lru_cache(maxsize=1024)(f) for f in (step_of, start_of))


def _count(
    statistics: TensorStatistics, value: np.ndarray, number: int, samples: int, every: int | None
) -> None:
    """Adds a tensor of sample `number`, of so many."""
    if not value.size:
        return
    lows, highs = _extremes(value, np.minimum), _extremes(value, np.maximum)
    low, high = lows.min(), highs.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("holds NaN or infinity")
    if value.ndim == 4:
        statistics.observe_channels(lows, highs)
    step = _step_of(value.size, samples, every)
    statistics.update(value.reshape(-1)[_start_of(number, step) :: step], low, high)


def _extremes(value: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The least or largest of each channel. Over the height first: by whole rows, that is fast."""
    if value.ndim < 3:
        return extreme.reduce(value.reshape(-1, value.shape[-1] if value.ndim else 1), axis=0)
    width, channels = value.shape[-2:]
    over_rows = extreme.reduce(value.reshape(-1, width * channels), axis=0)
    return extreme.reduce(over_rows.reshape(width, channels), axis=0)
