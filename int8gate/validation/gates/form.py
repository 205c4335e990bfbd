"""Gates of what an artifact is: its operators, its size, and what goes in and out.

In and out: dtypes, scales, pixels, and the refusal of the wrong ones.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from int8gate.quantizers.recipe_type import AFFINE, POWER_OF_TWO, Recipe
from int8gate.runtimes.artifact import Artifact, TensorSpec
from int8gate.runtimes.sessions import open_session
from int8gate.validation.expectations import Expectations
from int8gate.validation.gates.result import GateResult, failed
from int8gate.validation.metrics.registry import Metric
from int8gate.validation.rerun import rerun

_WITHIN = re.compile(r", inside (If|Loop|Scan) ")
_KERNELS = (
    "the converter has no integer kernel for these operators and leaves them in float silently",
    "replace the operators in the network",
)
_SUBGRAPHS = (
    "the quantizer takes the graph itself, not what stands inside an If or a Loop",
    "export the network with the condition constant, or with the loop written out",
)

SCALE_TOLERANCE = 0.03  # of the scale that maps pixel 0..255 exactly
ZERO_POINT_LEVELS = 1.0  # levels a zero point may be off
NUMBERS = ("int64", "int32", "bool")  # dtypes of class numbers and places (ArgMax, TopK)

_CHANGED = "the converter changed the type of an input or output that is a number, not a value"
_FLOAT_BORDER = "the converter kept a float border"
_OTHER_BORDER = "the file was quantized to another type than the recipe's"
_NO_SCALE = "the converter gave a border no scale that can be used"
_NO_SUCH_SCALE = "the quantizer gave the input another scale than the recipe's"
_PIXELS = "the calibration pictures do not span 0..255"


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


def io_dtype_gate(
    artifact: Artifact,
    recipe: Recipe,
    pixel_range: tuple[float, float] | None,
    case_id: str,
    float_artifact: Artifact | None = None,
) -> GateResult:
    """Declared dtypes, and a scale and zero point that mean something.

    `pixel_range` is what pixel 0 and pixel 255 become; with it, an 8-bit input must map raw pixels,
    and one in the scales that some silicon asks for must hold them all.
    Outputs that are numbers in the float artifact (classes of an ArgMax, places of a TopK) have no
    scale and keep their dtype, and so do inputs that are (tokens, categories).
    """
    found: dict[str, list[str]] = {}  # by cause
    ends = [
        (kind, *pair)
        for kind in ("input", "output")
        for pair in _beside_float(artifact, float_artifact, f"{kind}s")
    ]
    for kind, spec, real in ends:
        numbers = _dtype_of_numbers(spec, real)
        if numbers and spec.dtype != numbers:
            changed = f"{kind} {spec.name} is {spec.dtype}, in the float model {numbers}"
            found.setdefault(_CHANGED, []).append(changed)
        elif not numbers and spec.dtype not in recipe.io_dtypes:
            declared = " or ".join(recipe.io_dtypes)
            other = f"{kind} {spec.name} is {spec.dtype}, {recipe.name} declares {declared}"
            cause = _FLOAT_BORDER if spec.dtype.startswith("float") else _OTHER_BORDER
            found.setdefault(cause, []).append(other)
        elif not numbers and recipe.io != "float32" and (wrong := _scale_problems(kind, spec)):
            found.setdefault(_NO_SCALE, []).extend(wrong)
    is_of_bytes = pixel_range and artifact.inputs[0].dtype in ("int8", "uint8")
    if not found and pixel_range and is_of_bytes:
        spec, is_affine = artifact.inputs[0], recipe.scales == AFFINE
        if not is_affine and (wrong := _silicon_problems(spec, recipe.scales)):
            found[_NO_SUCH_SCALE] = wrong
        elif wrong := (_pixel_problems if is_affine else _span_problems)(spec, pixel_range):
            found[_PIXELS] = wrong
    if not found:
        return GateResult("passed")
    return failed(
        "; ".join(problem for problems in found.values() for problem in problems),
        f"{' or '.join(recipe.io_dtypes)} inputs and outputs with finite, positive scales that map "
        "the declared range",
        "; ".join(found),
        rerun(case_id, "io_dtype", "--int8-artifact-cache=none"),
    )


def _beside_float(artifact: Artifact, real: Artifact | None, kind: str):
    own = getattr(artifact, kind)
    theirs = getattr(real, kind) if real else ()
    return zip(own, theirs if len(theirs) == len(own) else (None,) * len(own), strict=True)


def _dtype_of_numbers(spec: TensorSpec, real: TensorSpec | None) -> str | None:
    """The dtype that an input or output of numbers must have; None of one that holds values.

    Without a float model an output of such a dtype and without a scale is one.
    """
    if real is None:
        return spec.dtype if spec.dtype in NUMBERS and not spec.is_quantized else None
    is_number = real.dtype in (*NUMBERS, "uint8", "int8", "int16")
    return real.dtype if is_number and not real.is_quantized else None


def _scale_problems(kind: str, spec: TensorSpec) -> list[str]:
    if spec.scale is None or not np.isfinite(spec.scale) or spec.scale <= 0:
        return [f"{kind} {spec.name} has scale {spec.scale}"]
    limits = np.iinfo(spec.dtype)
    if spec.zero_point is None or not limits.min <= spec.zero_point <= limits.max:
        return [f"{kind} {spec.name} has zero point {spec.zero_point}, outside {spec.dtype}"]
    return []


def _pixel_problems(spec: TensorSpec, pixel_range: tuple[float, float]) -> list[str]:
    (low, high), (scale, zero_point) = pixel_range, spec.quantization
    exact = (high - low) / 255
    if abs(scale / exact - 1) > SCALE_TOLERANCE:
        return [
            f"input {spec.name} has scale {scale:.6g}; raw pixels need {exact:.6g} "
            f"({low:g}..{high:g} over 255 levels)"
        ]
    at_zero = low / scale + zero_point - np.iinfo(spec.dtype).min
    if abs(at_zero) > ZERO_POINT_LEVELS:
        return [f"input {spec.name} stores pixel 0 as level {at_zero:.1f} instead of 0"]
    return []


def _silicon_problems(spec: TensorSpec, scales: str) -> list[str]:
    """Of an input in the scales that some silicon asks for: levels with zero in their middle."""
    scale, zero_point = spec.quantization
    if zero_point != _middle(spec):
        return [f"input {spec.name} has zero point {zero_point} and not {_middle(spec)}"]
    if scales == POWER_OF_TWO and np.frexp(scale)[0] != 0.5:
        return [f"input {spec.name} has scale {scale:.6g}, which is no power of two"]
    return []


def _span_problems(spec: TensorSpec, pixel_range: tuple[float, float]) -> list[str]:
    """Of such an input: raw pixels are no levels of it, but it holds what they become."""
    most = max(map(abs, pixel_range)) / (np.iinfo(spec.dtype).max - _middle(spec))
    scale, _ = spec.quantization
    if scale >= most * (1 - SCALE_TOLERANCE):
        return []
    low, high = pixel_range
    return [f"input {spec.name} has scale {scale:.6g}; {low:g}..{high:g} needs {most:.6g}"]


def _middle(spec: TensorSpec) -> int:
    limits = np.iinfo(spec.dtype)
    return (int(limits.min) + int(limits.max) + 1) // 2


def float_refused_by(model: Path, case_id: str) -> GateResult:
    """`float_refused_gate` of a file, which it loads: for a worker process."""
    return float_refused_gate(open_session(model), case_id)


def float_refused_gate(session, case_id: str) -> GateResult:
    """An integer model must refuse a float batch, not read its bytes as levels."""
    batch = [np.zeros(spec.shape, np.float32) for spec in session.inputs]
    try:
        session.run(batch)
    except TypeError:
        return GateResult("passed")
    return failed(
        "a float32 batch was accepted",
        "a TypeError: the model takes integers",
        "the artifact kept a float input",
        rerun(case_id, "integer_only"),
    )


def raw_pixels_gate(
    raw: float, quantized: float, expected: Expectations, metric: Metric, case_id: str
) -> GateResult:
    """Raw bytes 0..255 fed as they are score as well as preprocessed and quantized ones."""
    tolerance = expected.tolerance(quantized, metric.higher_is_better)
    if metric.drop(quantized, raw) <= tolerance:
        return GateResult("passed")
    return failed(
        f"{metric.name} of {raw:.4f} on raw pixels 0..255, {quantized:.4f} on preprocessed ones",
        f"worse by at most {tolerance:.4f} ({expected.accuracy})",
        "the input's scale and zero point do not map pixel 0 and 255 to the network's range",
        rerun(case_id, "io_dtype", "--int8-artifact-cache=none"),
    )
