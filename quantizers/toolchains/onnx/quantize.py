"""The ONNX toolchain: a prepared float model (`from_torch.to_onnx`) to INT8, with our ranges.

Static INT8 is written as QDQ. A recipe's activations are uint8, the one type that is fast on x86
together with int8 weights (int8 activations leave convolutions in float there, and suit ARM).
Weights are stored as int8 with a scale for each output channel, biases as int32. Ranges are the
calibrator's: ONNX Runtime's quantizer only places the scales. These functions run in the worker
process.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from int8gate.model_zoo.importers.onnx.structure import plainly
from int8gate.quantizers.file_scales import FileScales
from int8gate.quantizers.recipe import REFERENCES
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.onnx import static as onnx_static
from int8gate.quantizers.toolchains.onnx import weight_only
from int8gate.quantizers.toolchains.onnx.stock_quantizer import ACTIVATIONS
from int8gate.runtimes import onnx_file
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import describe


def quantize(
    float_model: Path,
    recipe: Recipe,
    ranges: dict[str, tuple[float, float]] | None,
    directory: Path,
    samples: Path | None = None,
    of_file: FileScales | None = None,
) -> dict:
    """Writes `directory`/model.onnx by the recipe; returns its description (`describe`), with
    `notes` for the record where there are any.

    `ranges` gives (low, high) of every tensor of `tensors_to_quantize`; None for dynamic INT8.
    `samples` are those of a recipe that rounds weights by them, `of_file` the scales that the model
    came with: weights get those, and no tensor that has one takes another's.
    Raises ValueError for a range that is missing, NaN or infinite, for a model that holds nothing
    to quantize, and with what the stock quantizer says where it stops.
    """
    is_static = recipe.activations in ACTIVATIONS
    chosen = _chosen(float_model, recipe, ranges, of_file) if is_static else {}
    notes: list[str] = []
    onnx_static.check_mix(float_model, recipe, ranges or {})
    try:
        if is_static:
            weights = of_file.weights if of_file else {}
            model = onnx_static.quantize(float_model, recipe, chosen, weights)
        elif recipe.block:
            model, notes = weight_only.quantize(float_model, recipe, samples)
        else:
            model = _dynamic(float_model, recipe.per_channel)
    # The stock quantizers assert, index and look up without a check.
    except Exception as error:
        raise ValueError(
            f"ONNX Runtime's quantizer stops at {float_model}: {type(error).__name__}: "
            f"{plainly(error)}"
        ) from error
    if recipe.block:
        weight_only.check(model, recipe, float_model)
    onnx_file.write(model, directory / ONNX)
    return describe(directory / ONNX) | ({"notes": notes} if notes else {})


def tensors_to_quantize(float_model: Path) -> list[str]:
    """The activations that get a quantizer, in the order of the graph: what a calibrator watches.

    A tensor that only moves another's values (a reshape's output) takes the other's scale.
    """
    return [name for name, of in onnx_static.marked(float_model).items() if name == of]


def _chosen(
    float_model: Path, recipe: Recipe, ranges: dict | None, of_file: FileScales | None = None
) -> dict:
    """The range of every tensor with a quantizer, those that share another's scale included."""
    if ranges is None:
        raise ValueError(f"{recipe.name} needs the ranges of its activations, found none")
    own = of_file.ranges if of_file else ()
    calibrated = onnx_static.marked(float_model, own=own)
    if not calibrated:
        raise ValueError(f"{float_model.name} holds no convolution or matrix product to quantize")
    marked = onnx_static.marked(float_model, recipe, own) if recipe.is_mixed else calibrated
    if not marked:
        raise ValueError(
            f"{recipe.name} leaves every operator of {float_model.name} float: choose "
            f"{REFERENCES[recipe.toolchain].name}, or rules that match less"
        )
    # Behind a node that stays float, values that it moves have a scale of their own.
    sources = {name: of if of in ranges else calibrated.get(of, of) for name, of in marked.items()}
    for name in sources.values():
        _check_range(name, ranges)
    return {name: ranges[of] for name, of in sources.items()}


def _check_range(name: str, ranges: dict) -> None:
    if name not in ranges:
        raise ValueError(
            f"tensor {name} needs a range and calibration has none for it: calibrate every tensor "
            "of tensors_to_quantize"
        )
    low, high = ranges[name]
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(
            f"tensor {name} has the range ({low}, {high}), expected finite values in order: "
            "a sample or a weight holds NaN or infinity"
        )


def _dynamic(float_model: Path, per_channel: bool):
    """The model with int8 weights in its matrix products; convolutions stay float.

    ONNX Runtime's dynamic convolutions run at a tenth to nine tenths of float's speed.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as stock

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / ONNX
        stock(
            str(float_model),
            str(target),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            use_external_data_format=len(onnx_file.files_of(float_model)) > 1,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(str(target))
