"""Statistics of the activations of a float ONNX model, in one pass over the samples.

Of every tensor the minimum and maximum over all elements of all samples are exact. The histogram
counts a sample of a large tensor's elements (`statistics.step_of`), others in each picture; what
that may do to a threshold, benchmarks/sampling_bounds.py bounds. Nothing that is kept grows with
the number of samples, and everything depends on a sample's number alone, so that shards merge to
what one pass finds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from int8gate.quantizers.calibration.sample_file import SampleFile, where_to_look
from int8gate.quantizers.calibration.statistics import (
    TensorStatistics,
    channels_of,
    start_of,
    step_of,
    step_of_places,
)
from int8gate.quantizers.toolchains.onnx.taps import Tap, TappedModel, start_name, tapped_model
from int8gate.runtimes import ort
from int8gate.runtimes.session import in_layout


def collect(
    float_model: Path,
    samples: Path,
    rows: range | None = None,
    tensors: list[str] | None = None,
    every: int | None = None,
    threads: int = 1,
) -> dict[str, TensorStatistics]:
    """Runs the float `.onnx` (`prepare`) on the samples; returns statistics by tensor name.

    `samples` are float32 (n, h, w, c), turned where the model takes (1, c, h, w); see `SampleFile`.
    `rows` are the samples to run (a shard), all by default. `tensors` are those that get a
    quantizer (`tensors_to_quantize`) by default. `every`: count every that many elements, 1 for
    all of them; by default about `statistics.COUNTED` of a tensor over all samples of the file.
    Channels are those of tensors of rank 4; their extremes are of
    `statistics.PLACES` places of each where not all elements are counted.

    The model stays open for the next shard until `close` is called or another one is opened. Raises
    ValueError naming tensor and sample where a value that is looked at is NaN or any is infinite,
    and where samples and model do not fit.
    """
    stored = SampleFile(samples)
    chosen = tuple(tensors) if tensors else None
    opened = _open(*_identity(float_model), chosen, len(stored), every, threads)
    feed = feeder(opened.session, stored, Path(float_model).name)
    found = {tap.tensor: TensorStatistics() for tap in opened.taps}
    for number in range(len(stored)) if rows is None else rows:
        sample = stored.sample(number)
        outputs = _run(opened, feed(sample), number, float_model)
        for tap, figures in _by_tensor(opened.taps, outputs):
            try:
                if not tap.in_graph:
                    figures = _figures(*figures, number, opened.step_of)
                _add(found[tap.tensor], *figures)
            except ValueError as error:
                raise ValueError(
                    f"tensor {tap.tensor} of {Path(float_model).name} {error} on calibration "
                    f"sample {number}: {where_to_look(sample)}"
                ) from error
    return found


def close() -> None:
    """Frees the model that `collect` keeps open."""
    _open.cache_clear()


@functools.lru_cache(maxsize=1)
def _open(
    path: str,
    _changed: tuple,
    tensors: tuple[str, ...] | None,
    samples: int,
    every: int | None,
    threads: int,
) -> TappedModel:
    if tensors is None:
        from int8gate.quantizers.toolchains.onnx.quantize import tensors_to_quantize

        tensors = tuple(tensors_to_quantize(Path(path)))
    if not tensors:
        raise ValueError(f"{path} has no tensor that gets a quantizer: there is no range to find")
    steps = functools.partial(step_of, samples=samples, every=every)
    return tapped_model(Path(path), list(tensors), steps, threads)


def _identity(path: Path) -> tuple[str, tuple[int, int]]:
    facts = Path(path).stat()
    return str(Path(path).absolute()), (facts.st_mtime_ns, facts.st_size)


def feeder(session, stored: SampleFile, model: str):
    """A function from a sample's arrays to the model's inputs."""
    taken = [given for given in session.get_inputs() if not given.name.startswith("int8gate.")]
    by_name = {given.name: given for given in taken}
    inputs = list(by_name.values())  # in the file's order, as sessions have them
    if set(stored.names) == set(by_name):
        inputs = [by_name[name] for name in stored.names]
    if len(inputs) != len(stored.shapes):
        raise ValueError(
            f"{model} takes {len(inputs)} inputs, {stored.path.name} has {len(stored.shapes)}"
        )
    dtypes = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
    kinds = [dtypes.get(x.type, x.type.removeprefix("tensor(").removesuffix(")")) for x in inputs]

    def feed(sample: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {
            given.name: np.ascontiguousarray(in_layout(array, tuple(given.shape)), dtype=kind)
            for given, kind, array in zip(inputs, kinds, sample, strict=True)
        }

    for given, array in zip(inputs, stored.sample(0), strict=True):
        fitted = in_layout(array, tuple(given.shape)).shape
        fits = len(fitted) == len(given.shape) and all(
            not isinstance(side, int) or side == found
            for side, found in zip(given.shape, fitted, strict=True)
        )
        if not fits:
            raise ValueError(
                f"input {given.name} of {model} takes {tuple(given.shape)}, a calibration sample "
                f"is {array.shape[1:]}"
            )
    return feed


def _run(opened: TappedModel, feeds: dict, number: int, model: Path) -> list[np.ndarray]:
    for step in opened.starts:
        feeds[start_name(step)] = np.array([start_of(number, step)], np.int64)
    try:
        return ort.run(opened.session, feeds)
    # ONNX Runtime raises classes of its own, each a direct child of Exception.
    except Exception as error:
        raise ValueError(
            f"{Path(model).name} does not run on calibration sample {number}: {error}"
        ) from error


def _by_tensor(taps: tuple[Tap, ...], outputs: list[np.ndarray]) -> Iterator[tuple[Tap, tuple]]:
    """Each tap with its figures (`_add`), or with its whole tensor alone."""
    values, figures = outputs[: len(taps)], outputs[len(taps) :]
    lows, highs = (iter(figure.tolist()) for figure in (figures or [np.zeros(0)] * 2)[:2])
    place = 0
    for tap, output in zip(taps, values, strict=True):
        if not tap.in_graph:
            yield tap, (output,)
            continue
        channels = slice(place, place + tap.channels)
        place += tap.channels
        of_channels = (figure[channels] for figure in figures[2:]) if tap.channels else ()
        yield tap, (output, next(lows), next(highs), *of_channels)


def _figures(values: np.ndarray, number: int, step_of: Callable[[int], int]) -> tuple:
    """What `TapNodes` would have found in the graph."""
    if values.dtype.kind != "f":
        raise ValueError(f"is {values.dtype}, and only a float tensor has a range,")
    values = np.asarray(values, np.float32)
    if not values.size:
        return values, None, None
    low, high = float(values.min()), float(values.max())
    step = step_of(values.size)
    counted = _strided(values.reshape(-1), step, number)
    channels = channels_of(values.shape)
    if not channels:
        return counted, low, high
    places = values.reshape(channels, -1).T
    places = _strided(places, step_of_places(len(places), step), number)
    return counted, low, high, places.min(axis=0), places.max(axis=0)


def _strided(values: np.ndarray, step: int, number: int) -> np.ndarray:
    return values[start_of(number, step) :: step]


def _add(statistics: TensorStatistics, values, low, high, *of_channels) -> None:
    statistics.update(values, low, high)
    if of_channels:
        statistics.observe_channels(*of_channels)
