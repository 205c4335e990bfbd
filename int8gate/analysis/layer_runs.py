"""What of a sensitivity analysis runs in the worker process: the network stays open between calls.

    layers(question)                    what can be measured
    edges(question)                     which of them read what another one gives
    about(question, count)              figures of the network with all quantized
    measured(question, names, count)    a row of figures for each of these layers

They write nothing into the directory that a stage is called with.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from int8gate.analysis.chain import FLOAT, INTEGER, Chain
from int8gate.engine.plugins import resolve
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.ranged import table_of
from int8gate.quantizers.recipe_type import Recipe
from int8gate.validation.around_network import Around, Scoring, prepared_samples
from int8gate.validation.bootstrap import (
    RESAMPLES,
    lower_drops,
    pair,
    quantile,
    unseen_loss,
    upper_drops,
)
from int8gate.validation.fidelity import OutputFidelity, worst_sqnr
from int8gate.validation.metrics.registry import Metric, metric

ALONE, WIDE = "alone", "wide"
MODES = (ALONE, WIDE)
TAIL = 0.025  # on each side of a 95% interval
RESAMPLES_OF_ROWS = 399  # of a metric that is no sum over samples, which takes long to score


@dataclass(frozen=True)
class Question:
    """What is measured; `key` tells it from every other.

    `opened` (``module:function``) opens the float artifact, see `Toolchain.segmented`. `count`
    samples are at hand; of the outputs of all of them the first metric of `scoring` is taken where
    `with_metric`. `calls` holds the inputs of a network that is called step by step, as
    calibration recorded them, in place of samples.
    """

    key: str
    opened: str
    float_model: Path
    statistics: Path
    recipe: Recipe
    pixel_range: tuple[float, float] | None
    scoring: Scoring
    count: int
    with_metric: bool
    modes: tuple[str, ...] = MODES
    seed: int = 0
    calls: Path | None = None


class _Opened:
    """A network, and its samples."""

    def __init__(self, question: Question) -> None:
        self.question, self.around = question, Around(question.scoring)
        if question.calls:
            inputs = _some_calls(question.calls, question.count)
            self.real = {f"input_{i}": each for i, each in enumerate(inputs)}
            self.labels = np.zeros(question.count)  # no metric looks at them
        else:
            self.real, self.labels = prepared_samples(question.scoring, question.count)
            inputs = self.around.before(self.real)
        ranges = thresholds.ranges_of(table_of(question.statistics), question.recipe)
        asked = (question.float_model, ranges, question.recipe, question.pixel_range)
        network = resolve(question.opened)(*asked)
        self.chain = Chain(network, inputs)
        self.layers = {layer.name: layer for layer in network.layers}
        self._views: dict[int, _View] = {}

    def on(self, count: int) -> _View:
        """The measurements on the first samples."""
        if count not in self._views:
            self._views[count] = _View(self, count)
        return self._views[count]


def _some_calls(file: Path, count: int) -> list[np.ndarray]:
    """So many of the recorded inputs (n, ...) of a network that is called step by step, drawn by
    chance: every so-manieth would be of the same steps.
    """
    stored = SampleFile(file)
    chosen = np.random.default_rng(0).permutation(len(stored))[:count]
    rows = (stored.sample(int(number)) for number in chosen)
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


class _View:
    """What the variants make of the first `count` samples. Of all of them the metric is taken."""

    def __init__(self, opened: _Opened, count: int) -> None:
        self._opened, self._question, self._count = opened, opened.question, count
        is_all = count >= self._question.count
        self._chain = opened.chain if is_all else opened.chain.part(0, count)
        self._real = {name: array[:count] for name, array in opened.real.items()}
        self._with_metric = is_all and self._question.with_metric
        first = next(iter(self._real.values()))
        self._sides = first.shape[1:3] if first.ndim == 4 else None

    def about(self) -> dict:
        """Of the network with all quantized: `sqnr_all_db`, and the metric's figures."""
        if WIDE not in self._question.modes:
            return {"sqnr_all_db": None}
        outputs = self._chain.outputs(INTEGER)
        found: dict = {"sqnr_all_db": self._sqnr(outputs)}
        if self._with_metric:
            found["score_float"] = float(self._metric.score(self._float_rows))
            effect = self._effect(self._float_rows, self._integer_rows)
            found["drop_all"], found["drop_all_interval"] = effect
        return found

    def row(self, layer: Layer) -> dict:
        """The figures of a layer; `error` says why there are none."""
        start, network = time.perf_counter(), self._chain.network
        row: dict = {"name": layer.name, "samples": self._count, "error": None}
        try:
            if ALONE in self._question.modes:
                outputs = self._chain.outputs(FLOAT, network.alone(layer))
                row["sqnr_alone_db"] = self._sqnr(outputs)
                if self._with_metric:
                    effect = self._effect(self._float_rows, self._rows(outputs))
                    row["drop_alone"], row["drop_alone_interval"] = effect
            if WIDE in self._question.modes:
                outputs = self._chain.outputs(INTEGER, network.wide(layer))
                row["sqnr_wide_db"] = self._sqnr(outputs)
                if self._with_metric:
                    effect = self._effect(self._rows(outputs), self._integer_rows)
                    row["gain_wide"], row["gain_wide_interval"] = effect
        except ValueError as error:
            row["error"] = str(error)
        return row | {"seconds": time.perf_counter() - start}

    def _sqnr(self, outputs: list[np.ndarray]) -> float | None:
        """Of the worst output, in dB; see `validation.fidelity`."""
        rows = []
        wanted = self._chain.outputs(FLOAT)
        for place, (real, found) in enumerate(zip(wanted, outputs, strict=True)):
            fidelity = OutputFidelity(str(place), real.dtype.kind in "iub", self._sides)
            fidelity.add(real, found)
            rows.append(fidelity.row())
        return worst_sqnr(rows)

    @property
    def _metric(self) -> Metric:
        return metric(self._question.scoring.metrics[0])

    @cached_property
    def _float_rows(self) -> np.ndarray:
        return self._rows(self._chain.outputs(FLOAT))

    @cached_property
    def _integer_rows(self) -> np.ndarray:
        return self._rows(self._chain.outputs(INTEGER))

    def _rows(self, outputs: list[np.ndarray]) -> np.ndarray:
        """The metric's rows (n, k)."""
        predictions = self._opened.around.after(self._real, outputs)
        return self._metric.sample_statistics(predictions, self._opened.labels[: self._count])

    def _effect(self, first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float]]:
        sources = self._question.scoring.samples.sources[: len(first)]
        return effect(self._metric, first, second, sources, self._question.seed)


def effect(
    scored: Metric, first: np.ndarray, second: np.ndarray, sources: np.ndarray, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """How much worse the second rows (n, k) score, in the metric's unit, and its 95% interval.

    The bounds are those of `validation.bootstrap` at 2.5% on each side: they leave room for what so
    few samples cannot show. `sources` (n,) are resampled whole.
    """
    pairs = pair(scored, first, second, sources)
    unseen = unseen_loss(pairs)
    count = RESAMPLES if scored.additive else RESAMPLES_OF_ROWS
    low, high = (
        quantile(drops(pairs, unseen, np.random.default_rng(seed), count), share)
        for drops, share in ((lower_drops, TAIL), (upper_drops, 1 - TAIL))
    )
    drop = float(scored.drop(scored.score(first), scored.score(second)))
    return drop, (min(low, drop), max(high, drop))


_open: dict[str, _Opened] = {}  # the last question's


def layers(question: Question, directory: Path | None = None) -> list[dict]:
    """What `measured` can be asked for."""
    return [asdict(layer) for layer in _opened(question).layers.values()]


def edges(question: Question, directory: Path | None = None) -> list[tuple[str, str]]:
    """Pairs of layers, producer and consumer, in the order of the graph; between them stand only
    operators that are no layers.
    """
    opened = _opened(question)
    owner = {name: layer.name for layer in opened.layers.values() for name in layer.operators}
    owner |= {name: name for name in opened.layers}
    giver: dict[str, dict[str, None]] = {}  # by tensor the layers that it comes from
    found: dict[tuple[str, str], None] = {}
    for operator in opened.chain.network.operators:
        before = {name: None for read in operator.reads for name in giver.get(read, {})}
        own = owner.get(operator.name)
        if own:
            found |= {(name, own): None for name in before if name != own}
        giver |= dict.fromkeys(operator.writes, {own: None} if own else before)
    return list(found)


def about(question: Question, count: int, directory: Path | None = None) -> dict:
    return _opened(question).on(count).about()


def measured(
    question: Question, names: tuple[str, ...], count: int, directory: Path | None = None
) -> list[dict]:
    opened = _opened(question)
    return [opened.on(count).row(opened.layers[name]) for name in names]


def _opened(question: Question) -> _Opened:
    if question.key not in _open:
        _open.clear()
        _open[question.key] = _Opened(question)
    return _open[question.key]
