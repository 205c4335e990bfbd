"""Which layers of a quantized network lose most: what a mix of precisions leaves float first."""

from __future__ import annotations

from collections.abc import Sequence

from int8gate.validation import causes
from int8gate.validation.case_run import CaseRun


def worst_layers(run: CaseRun) -> Sequence[str]:
    """Names of operators, the one first at which the signal to noise ratio falls most."""
    origin = causes.error_origin(run)
    return [row["tensor"] for row in origin["operators"]] if origin else []
