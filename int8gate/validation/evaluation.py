"""Scores an artifact on the evaluation set: per-sample statistics, kept in the cache.

Runs in the worker process: the first execution of a model file is where a broken one crashes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.runtimes.not_finite import NotFinite, which_output
from int8gate.runtimes.sessions import open_session
from int8gate.validation.agreement import Agreement
from int8gate.validation.answers import AnswerCollector, Answers, answers_in
from int8gate.validation.around_network import BATCH, Around, Scoring, batches_of
from int8gate.validation.fidelity import OutputFidelity
from int8gate.validation.metrics.registry import metric

BATCH_BYTES = 2**25  # of a batch's inputs or outputs: a map of a native network is 20 MB by itself
FIDELITY_SAMPLES = 200  # the first of the set, which go round the sources and so the classes
LOOPED_SAMPLES = 50  # where the host calls PyTorch's network step by step: 6 ms a call
STATISTICS = "statistics.npz"
TO_FLOAT = "to_float/"  # of the arrays in that file
PICTURES = "pictures/"  # likewise
SHOWN = 10  # pictures that are kept, of the first samples


@dataclass(frozen=True)
class Evaluation:
    """Per-sample statistics, sources (n,), chance level, and what the outputs look like.

    `groups` (n,) are the parts of the set that are judged by themselves, too; None where there are
    none. `to_float` are rows (m, 2) of the first m samples by comparison (`validation.to_float`),
    `pictures` the first ones that the float model and this one give, uint8 (m, h, w, channels).

    `statistics` (n, k) are the gated metric's (k is 0 and `chance` None where nothing is scored),
    `also` those of others by name, `baseline` (n, k) those of the gated metric's baseline, None
    where only `chance` is known. `fidelity` (a row for each of the network's outputs, see
    `OutputFidelity.row`) and `agreement` (of answers, a fraction) compare with the float artifact,
    for that itself with the network that it was converted from; None where there is nothing to
    compare with, and of agreement where it has no meaning. `raw_pixels` are
    the statistics (m, k) when raw bytes are fed to the first m samples, None where the input takes
    no raw bytes. `seconds` and `peak_rss_bytes` are what it took when it was measured. `answers`
    are those of a classifier, None of others.
    """

    statistics: np.ndarray
    sources: np.ndarray
    chance: float | None
    distinct_outputs: int
    fidelity: list[dict] | None
    agreement: float | None
    raw_pixels: np.ndarray | None
    seconds: float
    peak_rss_bytes: int | None
    also: dict[str, np.ndarray]
    baseline: np.ndarray | None = None
    answers: Answers | None = None
    groups: np.ndarray | None = None
    to_float: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    model: Path,
    reference: Path | None,
    scoring: Scoring,
    count: int,
    provider: str | None,
    directory: Path,
) -> dict:
    """Scores the first `count` samples; writes `directory`/statistics.npz, returns the scalars.

    `reference` is a float artifact, or what one was converted from; None where there is none.
    `provider` executes an ONNX file elsewhere than on the CPU.
    """
    session = open_session(model, provider=provider)
    compared = reference and open_session(reference)
    around = Around(scoring)
    pixel_range = None if around.prepares else scoring.preprocessing.uniform_range
    takes_bytes = session.inputs[0].dtype == "uint8" and pixel_range and scoring.metrics
    gated, *others = scoring.metrics or (None,)
    rows: dict[str, list] = {name: [] for name in scoring.metrics}
    raw_rows, labels_seen = [], []
    apart: dict[str, list] = {name: [] for name, _ in scoring.to_float if compared}
    answers, shown = AnswerCollector(), _Shown(scoring.shows_pictures)
    fidelity, distinct = _Fidelity(scoring, around, session, compared), DistinctOutputs()
    is_slow = bool(scoring.network.drawn and reference and reference.suffix == ".pt2")
    compared_on = LOOPED_SAMPLES if is_slow else FIDELITY_SAMPLES
    done = 0
    for arrays, labels in batches_of(scoring.samples, count, _batch_size(session)):
        real = around.prepared(arrays)
        inputs = around.before(real)
        outputs = around.outputs(session, inputs, pixel_range)
        try:
            if rows:
                predictions = around.after(real, outputs)
                answers.add(predictions, labels)
                for name, found in _statistics(list(rows), predictions, labels).items():
                    rows[name].append(found)
        except NotFinite as error:
            raise ValueError(which_output(outputs, around.names(session), done)) from error
        distinct.add(outputs[0])
        labels_seen.append(labels)
        if done < compared_on:
            if compared:
                if not done:
                    for name, rows_of in scoring.generation:
                        apart[name] = [resolve(rows_of)(compared, session, *inputs)]
                wanted = around.outputs(compared, inputs)
                fidelity.add(real, wanted, outputs)
                if scoring.to_float:
                    pair = around.after(real, wanted), predictions  # a task that has some scores
                    shown.add(*pair)
                for name, rows_of in scoring.to_float:
                    apart[name].append(resolve(rows_of)(*pair))
            if takes_bytes:
                raw = around.after(real, session.dequantize(session.run_each(*arrays.values())))
                raw_rows.append(metric(gated).sample_statistics(raw, labels))
        done += len(labels)
    statistics = np.concatenate(rows[gated]) if gated else np.zeros((done, 0))
    arrays = {"statistics": statistics, "sources": scoring.samples.sources[:done]}
    if scoring.samples.groups is not None:
        arrays["groups"] = scoring.samples.groups[:done]
    arrays |= {f"also/{name}": np.concatenate(rows[name]) for name in others}
    arrays |= {f"{TO_FLOAT}{name}": np.concatenate(found) for name, found in apart.items()}
    arrays |= answers.arrays() | shown.arrays()
    chance = None
    if gated:
        chance, baseline = _of_baseline(gated, np.concatenate(labels_seen), statistics.shape[1])
        arrays |= {} if baseline is None else {"baseline": baseline}
    if raw_rows:
        arrays["raw_pixels"] = np.concatenate(raw_rows)
    np.savez_compressed(directory / STATISTICS, **arrays)
    return {
        "chance": chance,
        "distinct_outputs": distinct.count,
        "fidelity": fidelity.rows() if compared else None,
        "agreement": fidelity.agreement(),
    }


def _statistics(
    names: list[str], predictions: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """The rows of metrics by name; what several take (the matches of all APs) is found once."""
    of_metric = {name: metric(name).sample_statistics for name in names}
    found = {each: each(predictions, labels) for each in dict.fromkeys(of_metric.values())}
    return {name: found[each] for name, each in of_metric.items()}


class _Shown:
    """The first pictures of the float and of the quantized model, in 256 levels; of outputs that
    are none it keeps nothing.
    """

    def __init__(self, are_pictures: bool):
        self._are_pictures = are_pictures
        self._rows: dict[str, np.ndarray] = {}

    def add(self, wanted: np.ndarray, found: np.ndarray) -> None:
        if self._are_pictures and not self._rows:
            pairs = {"float": wanted, "quantized": found}.items()
            levels = {name: np.rint(np.clip(each[:SHOWN], 0, 1) * 255) for name, each in pairs}
            self._rows = {name: each.astype(np.uint8) for name, each in levels.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"{PICTURES}{name}": each for name, each in self._rows.items()}


class _Fidelity:
    """Two models' outputs on the same inputs, compared output by output and answer by answer."""

    def __init__(self, scoring: Scoring, around: Around, session, compared):
        self._around, self._may_refuse = around, scoring.decode_is_guess
        self._answers = Agreement(scoring.agreement) if compared and scoring.agreement else None
        self._specs = [each.outputs for each in (session, compared) if each]
        self._names, self._outputs = around.names(session), []

    def add(
        self, real: dict[str, np.ndarray], wanted: list[np.ndarray], found: list[np.ndarray]
    ) -> None:
        """The float and the quantized model's outputs (n, ...) for prepared samples `real`.

        Raises ValueError where they do not fit each other.
        """
        if len(wanted) != len(found):
            raise ValueError(
                f"the float model has {len(wanted)} outputs, the quantized one {len(found)}"
            )
        if not self._outputs:
            first = next(iter(real.values()))
            sides = first.shape[1:3] if first.ndim == 4 else None
            self._outputs = [
                OutputFidelity(self._names[place], self._is_integer(place), sides)
                for place, values in enumerate(wanted)
            ]
        for output, expected, quantized in zip(self._outputs, wanted, found, strict=True):
            output.add(expected, quantized)
        if not self._answers:
            return
        try:
            decoded_pair = [self._around.after(real, outputs) for outputs in (wanted, found)]
        except ValueError:
            if not self._may_refuse:
                raise
            self._answers = None
            return
        self._answers.add(*decoded_pair)

    def rows(self) -> list[dict]:
        return [output.row() for output in self._outputs]

    def agreement(self) -> float | None:
        return self._answers.share() if self._answers else None

    def _is_integer(self, place: int) -> bool:
        """Whether an output holds whole numbers that stand for nothing else: indices, classes."""
        specs = [each[place] for each in self._specs if place < len(each)]
        dtypes = [spec.dtype for spec in specs if not spec.is_quantized]
        return any(dtype.startswith(("int", "uint", "bool")) for dtype in dtypes)


def _of_baseline(name: str, labels: np.ndarray, width: int) -> tuple[float, np.ndarray | None]:
    """The baseline's score and its rows (n, width), where the metric tells them of each sample."""
    score = metric(name)
    if score.baseline_statistics is None:
        return float(score.chance(labels)), None
    rows = score.baseline_statistics(labels, width)
    return float(score.score(rows)), rows


def _named(arrays, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a file whose names begin so, without that beginning."""
    names = [name for name in arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays[name] for name in names}


def read_evaluation(directory: Path, scalars: dict) -> Evaluation:
    """What `evaluate` wrote, and the scalars that it returned."""
    with np.load(directory / STATISTICS, allow_pickle=False) as arrays:
        return Evaluation(
            statistics=arrays["statistics"],
            sources=arrays["sources"],
            raw_pixels=arrays.get("raw_pixels"),
            baseline=arrays.get("baseline"),
            also=_named(arrays, "also/"),
            answers=answers_in(arrays),
            groups=arrays.get("groups"),
            to_float=_named(arrays, TO_FLOAT),
            pictures=_named(arrays, PICTURES),
            **scalars,
        )


def _batch_size(session) -> int:
    """Samples at a time: fewer than `BATCH` where inputs or outputs are large."""
    elements = (
        sum(math.prod(map(abs, spec.shape)) for spec in specs)  # an unknown side counts as 1
        for specs in (session.inputs, session.outputs)
    )
    return max(1, min(BATCH, BATCH_BYTES // (np.dtype(np.float32).itemsize * max(elements))))


class DistinctOutputs:
    """Counts different outputs batch by batch: fewer than two means a constant output."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, outputs: np.ndarray) -> None:
        """A batch (n, ...) of outputs."""
        self._seen.update(sha256(sample.tobytes()).digest() for sample in outputs)

    @property
    def count(self) -> int:
        return len(self._seen)
