"""Latency of a case: on the host CPU, and on a target (compiled and timed, modelled or simulated).

On the host, float and quantized run in turn, so that drift of the machine cancels. The record's
entry for a target is `npu_entry`. What is modelled or simulated is kept in the cache, with the
compiled model that an integrator flashes; what is measured is measured in every run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.engine import code_identity
from int8gate.engine.cache import BUILDING
from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import diagnosed
from int8gate.quantizers.pipeline import Pipeline
from int8gate.runtimes.artifact import Artifact
from int8gate.runtimes.sessions import open_session
from int8gate.targets.target import MEASURED, Target, blank_entry
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.metrics.registry import metric

ROUNDS = 200
WARM_UP = 5
LONGEST_S = 2.0  # a slow model gets fewer rounds, at least LEAST_ROUNDS
LEAST_ROUNDS = 5

SIMULATED_SAMPLES = 300  # of the evaluation set: a simulator takes some 100 ms a sample
GRACE_S = 10.0  # for a compiler that is to say itself that its time is up
# (provider, count) -> the scores of the artifact there, and on this host; None where there are none
Evaluated = Callable[[str, int], tuple[KeptEvaluation, KeptEvaluation] | None]


@dataclass(frozen=True)
class Interleaved:
    """Seconds of each round, float then quantized, measured in turn on one thread: (n,) each."""

    float_s: np.ndarray
    quantized_s: np.ndarray

    @property
    def speedup(self) -> float:
        """Median of the ratios round by round."""
        return float(np.median(self.float_s / self.quantized_s))


def interleave(float_model: Path, quantized_model: Path) -> Interleaved:
    """Times `invoke` alone, on an input of mid-range values: latency does not depend on content."""
    sessions = [open_session(path, threads=1) for path in (float_model, quantized_model)]
    for session in sessions:
        session.feed([_middle(spec) for spec in session.inputs])
        for _ in range(WARM_UP):
            session.invoke()
    rounds = []
    started = time.perf_counter()
    while len(rounds) < ROUNDS and (
        len(rounds) < LEAST_ROUNDS or time.perf_counter() - started < LONGEST_S
    ):
        rounds.append([_seconds(session) for session in sessions])
    measured = np.array(rounds)
    return Interleaved(measured[:, 0], measured[:, 1])


def _middle(spec) -> np.ndarray:
    if spec.dtype == "float32":
        return np.full(spec.shape, 0.5, np.float32)
    if not spec.is_quantized and spec.dtype != "uint8":
        return np.zeros(spec.shape, spec.dtype)  # a number: 0 is one of any vocabulary
    limits = np.iinfo(spec.dtype)
    return np.full(spec.shape, (int(limits.min) + int(limits.max)) // 2, spec.dtype)


def _seconds(session) -> float:
    started = time.perf_counter()
    session.invoke()
    return time.perf_counter() - started


class RecordedClock:
    """A timer that moves only by the seconds it is told, for benchmark histories.

    It lets pytest-benchmark keep rounds that were measured in turn with float ones, or modelled.
    """

    __name__ = "recorded_clock"

    def __init__(self):
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


def npu_entry(
    artifact: Artifact,
    target: Target,
    core: str,
    pipeline: Pipeline,
    metrics: tuple[str, ...],
    evaluated_on: Evaluated,
) -> dict:
    """The record's entry for a target; see `Target.entry`.

    Raises ConversionFailed or WorkerError where the target gives no result.
    """
    blank = blank_entry(target)
    if reason := target.unavailable():
        return blank | {"unavailable": reason}
    found = _measured if target.kind == MEASURED else _cached
    entry = blank | found(artifact, target, core, pipeline)
    if target.provider and (pair := evaluated_on(target.provider, SIMULATED_SAMPLES)):
        entry["accuracy"] = _scores(metrics[0], *pair)
    return entry


def _cached(artifact: Artifact, target: Target, core: str, pipeline: Pipeline) -> dict:
    parts = {
        "model": artifact.sha256,
        "target": target.parameters,
        "core": core,
        **code_identity.identity(*target.roots),
    }

    def build(directory: Path) -> dict:
        return {"entry": _asked(artifact, target, core, pipeline, directory)}

    kept = pipeline.cache.get_or_build("compiled", parts, build)
    found = kept.meta["entry"]
    if name := found.get("compiled"):
        return found | {"compiled": str(kept.path / name)}
    return found


def _measured(artifact: Artifact, target: Target, core: str, pipeline: Pipeline) -> dict:
    building = pipeline.cache.root / BUILDING
    building.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="measured-", dir=building) as scratch:
        found = _asked(artifact, target, core, pipeline, Path(scratch))
    return {name: value for name, value in found.items() if name != "compiled"}


def _asked(
    artifact: Artifact, target: Target, core: str, pipeline: Pipeline, directory: Path
) -> dict:
    limit = pipeline.settings.stage_timeout_s
    asked = (target.entry, artifact.path, core, directory, limit)
    try:
        return pipeline.runner.in_worker(*asked, grace_s=GRACE_S).value
    except WorkerError as error:
        raise diagnosed(error, "compiled") from error


def _scores(gated: str, simulated: KeptEvaluation, on_host: KeptEvaluation) -> dict:
    """The score where the target's provider computes, beside the host's."""
    score, count = metric(gated), len(simulated.statistics)
    return {
        "metric": score.name,
        "simulated": score.score(simulated.statistics),
        "host": score.score(on_host.statistics[:count]),
        "samples": count,
    }
