"""A case on a target, as the record has it: compiled for it and timed, modelled or simulated.

What is modelled or simulated is kept in the cache, with the compiled model that an integrator
flashes; what is measured is measured in every run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from int8gate.engine import code_identity
from int8gate.engine.cache import BUILDING
from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import diagnosed
from int8gate.quantizers.pipeline import Pipeline
from int8gate.runtimes.artifact import Artifact
from int8gate.targets.target import MEASURED, Target, blank_entry
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.metrics.registry import metric

SIMULATED_SAMPLES = 300  # of the evaluation set: a simulator takes some 100 ms a sample
GRACE_S = 10.0  # for a compiler that is to say itself that its time is up
# (provider, count) -> the scores of the artifact there, and on this host; None where there are none
Evaluated = Callable[[str, int], tuple[KeptEvaluation, KeptEvaluation] | None]


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
