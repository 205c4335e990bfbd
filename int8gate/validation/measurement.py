"""`Measurement`: what a gate measured of a case, and what several gates say alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from int8gate.validation import gates, record
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult

NO_TWIN = "no float model to compare the quantized file with"
NAME_TWIN = '; name it with float_file = "FILE" in the TOML'


@dataclass(frozen=True)
class Measurement:
    """A gate's result, its fields of the case record, and seconds a round where there are any."""

    gate: str
    result: GateResult
    fields: dict = field(default_factory=dict)
    rounds_s: tuple[float, ...] = ()


def with_generation(run: CaseRun, found: Measurement) -> Measurement:
    """A gate's measurement with the record's `generation`, of a task that writes something."""
    if run.generation is None:
        return found
    result = gates.generation_gate(run.generation, run.case_id) or found.result
    return replace(found, result=result, fields=found.fields | {"generation": run.generation})


def artifact_fields(run: CaseRun) -> dict:
    """Which file the figures are of and how it came about: every gate says it, whichever run."""
    artifact = run.built.artifact
    return {
        "artifact": {"path": str(artifact.path), "sha256": artifact.sha256},
        "conversion": record.describe_conversion(run),
    }


def no_float(run: CaseRun) -> GateResult:
    return GateResult("not_measured", NO_TWIN + (NAME_TWIN if run.plan.own else ""))
