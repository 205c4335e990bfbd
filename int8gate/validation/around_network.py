"""What stands around the network that is scored: its samples, and what the host does to them.

Scoring             what a model is scored on and how
Around              from samples to the network's inputs, and from its outputs to what is scored
batches_of          a set's samples, some at a time
prepared_samples    the first ones as the model takes them; `network_inputs` as the network does
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from int8gate.calibration_data.drawn_samples import MOST_BYTES, DrawnSamples
from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.user_hooks import decoded
from int8gate.runtimes.hosts import open_host

BATCH = 50


@dataclass(frozen=True)
class Scoring:
    """What a model is scored on and how; the same for every artifact of a model.

    `host` is an export with a part that the host runs around the network (`runtimes.host`), None
    where the network is the whole model. `decode` (``module:function``) turns the model's
    outputs into the one array that the metrics take; where that is a guess (`decode_is_guess`), its
    refusal means that there is no agreement to judge. The first of `metrics` is the gated one.
    `agreement` is the task whose answers are compared, or its function; None where none are.
    `outputs` are names for the model's outputs, empty for those of the artifact. `to_float` are the
    task's comparisons with the float model, ``module:function`` by name, `generation` those that
    run both models. `shows_pictures` of a task whose decoded outputs are some.
    """

    samples: SampleSet
    preprocessing: Preprocessing
    metrics: tuple[str, ...]
    network: Network
    decode: str | None = None
    host: Path | None = None
    agreement: str | None = None
    decode_is_guess: bool = False
    outputs: tuple[str, ...] = ()
    to_float: tuple[tuple[str, str], ...] = ()
    generation: tuple[tuple[str, str], ...] = ()
    shows_pictures: bool = False


class Around:
    """What the host does around the network: from preprocessed samples to what is scored."""

    def __init__(self, scoring: Scoring):
        self._host = scoring.host and open_host(scoring.host)
        self._outputs = scoring.outputs
        self._decode_name = scoring.decode
        self._decode = scoring.decode and resolve(scoring.decode)
        self._network, self._preprocessing = scoring.network, scoring.preprocessing
        self.prepares = bool(self._host and self._host.has_preprocessing)

    def prepared(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model takes; a graph of pixels gets them as they are, its input may be uint8."""
        if self._host and self._preprocessing.is_identity:
            return arrays
        return {name: self._preprocessing.apply(value) for name, value in arrays.items()}

    def before(self, prepared: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Samples (n, ...) to the network's inputs (n, ...), in its order."""
        real = list(prepared.values())
        if self._host is None or not self.prepares:
            return real
        return _columns(map(self._host.before, _one_by_one(real)))

    def outputs(
        self, session, inputs: list[np.ndarray], pixel_range: tuple[float, float] | None = None
    ) -> list[np.ndarray]:
        """What a model's session gives for the network's inputs (n, ...): called once, or as often
        as the host's loop does.
        """
        if self._host is None or not self._host.output_names:
            return session.predict(*inputs, pixel_range=pixel_range)
        return self._host.outputs(session.predict, inputs)

    def names(self, session) -> list[str]:
        """What these outputs are called."""
        if self._host and self._host.output_names:
            return list(self._host.output_names)
        known = [spec.name for spec in session.outputs]
        return list(self._outputs) if len(self._outputs) == len(known) else known

    def after(self, prepared: dict[str, np.ndarray], outputs: list[np.ndarray]) -> np.ndarray:
        """The network's outputs (n, ...) to what the metrics take."""
        if self._host and self._host.has_postprocessing:
            pairs = zip(_one_by_one(list(prepared.values())), _one_by_one(outputs), strict=True)
            outputs = _columns(self._host.after(*pair) for pair in pairs)
        if not self._decode:
            return outputs[0]
        return decoded(
            self._decode_name, self._decode, outputs, self._network, list(prepared.values())
        )


def _one_by_one(batches: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Arrays (n, ...) as n lists of batches of 1."""
    return ([batch[i : i + 1] for batch in batches] for i in range(len(batches[0])))


def _columns(rows) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def network_inputs(scoring: Scoring, count: int) -> list[np.ndarray]:
    """What the network takes, real values (count, ...) for each input, of the first samples."""
    return Around(scoring).before(prepared_samples(scoring, count)[0])


def prepared_samples(scoring: Scoring, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The first samples as the model takes them, (count, ...) by input, and their labels."""
    around = Around(scoring)
    drawn = list(batches_of(scoring.samples, count, BATCH))
    batches = [around.prepared(arrays) for arrays, _ in drawn]
    together = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    return together, np.concatenate([labels for _, labels in drawn])


def batches_of(samples: SampleSet, count: int, size: int):
    """`size` at a time, in order; a set of ordinary size is read once for all recipes."""
    bytes_each = sum(value.nbytes for value in samples.named(0)[0].values())
    if isinstance(samples, DrawnSamples) or len(samples) * bytes_each > MOST_BYTES:
        yield from samples.feeds(size, np.arange(min(count, len(samples))))
        return
    arrays, labels = kept_samples(samples)
    for start in range(0, min(count, len(labels)), size):
        chosen = slice(start, min(start + size, count))
        yield {name: value[chosen] for name, value in arrays.items()}, labels[chosen]


@lru_cache(maxsize=1)
def kept_samples(samples: SampleSet) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All samples, written into place some at a time: they are not in memory twice."""
    arrays: dict[str, np.ndarray] = {}
    labels: list[np.ndarray] = []
    done = 0
    for drawn, of_drawn in samples.feeds(BATCH):
        for name, value in drawn.items():
            if not done:
                arrays[name] = np.empty((len(samples), *value.shape[1:]), value.dtype)
            arrays[name][done : done + len(value)] = value
        labels.append(of_drawn)
        done += len(of_drawn)
    return arrays, np.concatenate(labels)
