"""A case on a target, as the record has it: compiled for it and timed, modelled or simulated.

What is modelled or simulated is kept in the cache, with the compiled model that an integrator
flashes; what is measured is measured in every run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from int8gate.engine import code_identity
from int8gate.engine.cache import BUILDING
from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import diagnosed
from int8gate.targets.target import MEASURED, Target, blank_entry
from int8gate.validation.metrics.registry import metric

if TYPE_CHECKING:
    from int8gate.validation.case_run import CaseRun

SIMULATED_SAMPLES = 300  # of the evaluation set: a simulator takes some 100 ms a sample
GRACE_S = 10.0  # for a compiler that is to say itself that its time is up


def npu_entry(run: CaseRun, target: Target, core: str) -> dict:
    """The record's entry for a target; see `Target.entry`.

    Raises ConversionFailed or WorkerError where the target gives no result.
    """
    blank = blank_entry(target)
    if reason := target.unavailable():
        return blank | {"unavailable": reason}
    found = blank | (_measured if target.kind == MEASURED else _kept)(run, target, core)
    if target.provider and not run.unscored_reason:
        found["accuracy"] = _scores(run, target.provider)
    return found


def _kept(run: CaseRun, target: Target, core: str) -> dict:
    parts = {
        "model": run.built.artifact.sha256,
        "target": target.parameters,
        "core": core,
        **code_identity.identity(*target.roots),
    }
    entry = run.pipeline.cache.get_or_build(
        "compiled", parts, lambda directory: {"entry": _asked(run, target, core, directory)}
    )
    found = entry.meta["entry"]
    if name := found.get("compiled"):
        return found | {"compiled": str(entry.path / name)}
    return found


def _measured(run: CaseRun, target: Target, core: str) -> dict:
    building = run.pipeline.cache.root / BUILDING
    building.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="measured-", dir=building) as scratch:
        found = _asked(run, target, core, Path(scratch))
    return {name: value for name, value in found.items() if name != "compiled"}


def _asked(run: CaseRun, target: Target, core: str, directory: Path) -> dict:
    asked = (target.entry, run.built.artifact.path, core, directory)
    limit = run.pipeline.settings.stage_timeout_s
    try:
        return run.pipeline.runner.in_worker(*asked, limit, grace_s=GRACE_S).value
    except WorkerError as error:
        raise diagnosed(error, "compiled") from error


def _scores(run: CaseRun, provider: str) -> dict:
    """The score where the target's provider computes, beside the host's."""
    simulated = run.evaluated_on(provider, SIMULATED_SAMPLES)
    score, count = metric(run.metrics[0]), len(simulated.statistics)
    return {
        "metric": score.name,
        "simulated": score.score(simulated.statistics),
        "host": score.score(run.evaluation.statistics[:count]),
        "samples": count,
    }
