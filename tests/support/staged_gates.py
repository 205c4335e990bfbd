"""Gates that end as a test stages them: a plugin (`-p staged_gates`) for what runs make of it.

STAGED holds JSON, `{case id: {gate: [status, message]}}` (`*`: every case, gates that are not named
pass). Nothing is converted, so that a run takes a second.
"""

from __future__ import annotations

import json
import os

import pytest

from int8gate.validation import measure
from int8gate.validation.gates import GateResult

GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")


def pytest_configure() -> None:
    staged = json.loads(os.environ.get("STAGED", "{}"))
    for gate in GATES:
        setattr(measure, gate, _staged(gate, staged))


def _staged(gate: str, staged: dict):
    def measured(run, *arguments) -> measure.Measurement:
        chosen = staged.get("*", {}) | staged.get(run.case_id, {})
        status, message = chosen.get(gate, ["passed", ""])
        if status == "interrupt":
            raise KeyboardInterrupt
        if status == "crash":
            os._exit(9)
        if status == "skip":
            pytest.skip(message)
        if status == "raise":
            raise ValueError(message)
        fields = {}
        if gate == "accuracy":
            fields["fidelity"] = {"sqnr_db": 30.0, "cosine": 1.0}
        if gate == "size":
            size = int(os.environ.get("STAGED_SIZE", "100"))
            fields["size_bytes"] = {"float": 400, "quantized": size, "ratio": size / 400}
        rounds = (float(os.environ.get("STAGED_MS", "1")) / 1e3,) * gate.endswith("_speedup")
        return measure.Measurement(gate, GateResult(status, message), fields, rounds)

    return measured
