"""Gates of what an artifact is: its operators and its size."""

from __future__ import annotations

import re

from int8gate.validation.expectations import Expectations
from int8gate.validation.gates.result import GateResult, failed
from int8gate.validation.rerun import rerun


def integer_only_gate(float_operators: list[str], case_id: str) -> GateResult:
    """No operator of a full-integer model computes in float that could compute on integers.

    What that is of an ONNX file, `int8gate/runtimes/onnx_graph.py` says.
    """
    if not float_operators:
        return GateResult("passed")
    cause, cure = _KERNELS
    if any(_WITHIN.search(named) for named in float_operators):
        cause, cure = _SUBGRAPHS
    return failed(
        f"{len(float_operators)} float operators: {_first(float_operators)}",
        "none in a full-integer model",
        cause,
        rerun(case_id, "npu_speedup", remark="shows what it costs") + f", or {cure}",
    )


_WITHIN = re.compile(r", inside (If|Loop|Scan) ")
_KERNELS = (
    "the converter has no integer kernel for these operators and leaves them in float silently",
    "replace the operators in the network",
)
_SUBGRAPHS = (
    "the quantizer takes the graph itself, not what stands inside an If or a Loop",
    "export the network with the condition constant, or with the loop written out",
)


def _first(names: list[str], most: int = 5) -> str:
    """The first names of a list for a message; the record has them all."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more (see the report)" if rest > 0 else "")


def size_gate(ratio: float, expected: Expectations, case_id: str) -> GateResult:
    """The artifact is smaller than the float one by the expected ratio."""
    if ratio <= expected.size_ratio:
        return GateResult("passed")
    return failed(
        f"{ratio:.2f} of the float artifact's size",
        f"at most {expected.size_ratio:.2f}",
        "weights stayed in float, or the network is so small that its metadata dominates",
        rerun(case_id, "integer_only"),
    )
