"""Which operators of a `.tflite` have a form of int16 activations, or of int4 weights.

Tried each between convolutions (ai-edge-quantizer 0.10, LiteRT 2.3): all that AI Edge Quantizer
lists for int16 run. PRELU and DEPTH_TO_SPACE are written as others (`int16_forms.py`). It has none
for LEAKY_RELU, HARD_SWISH, RELU6 by itself, MINIMUM, ABS, NEG, EXP, ELU, SQUARED_DIFFERENCE,
REDUCE_MAX, L2_NORMALIZATION, TILE and SPACE_TO_DEPTH; of int4 it has CONV_2D and FULLY_CONNECTED.
Others are refused by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from int8gate.quantizers.recipe_type import INT4, INT16, Recipe
from int8gate.quantizers.toolchains.tflite.int16_forms import FORMS
from int8gate.runtimes.tflite_graph import Operator

BITS = {INT4: (8, 4), INT16: (16, 8)}  # of activations, of weights
WEIGHTED = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "CONV_3D"}
)


def check_forms(recipe: Recipe, width: str, operators: Sequence[Operator]) -> None:
    """Raises ValueError for the first of the operators that has no form of that width."""
    for operator in operators:
        if not has_form(operator.opcode, width):
            raise ValueError(
                f"{recipe.name}: AI Edge Quantizer has no {width} form of {operator.opcode} "
                f"({operator.outputs[0].name}): take it out of the recipe's {width} operators, or "
                "leave it float32"
            )


@cache
def has_form(opcode: str, width: str) -> bool:
    """Whether AI Edge Quantizer can give an operator that width, one of `BITS`."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    if width == INT16 and opcode in FORMS:
        return True
    name = quantizer_name(opcode)
    activations, weights = (
        qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=True) for bits in BITS[width]
    )
    config = qtyping.OpQuantizationConfig(
        activation_tensor_config=activations,
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.INTEGER,
    )
    method = algorithm_manager.AlgorithmName.MIN_MAX_UNIFORM_QUANT
    try:
        algorithm_manager.check_op_quantization_config(method, name, config)
    except ValueError:
        return False
    return name is not None and (width != INT4 or opcode in WEIGHTED)


def quantizer_name(opcode: str) -> Any:
    """What AI Edge Quantizer calls an operator; None of one that it does not know."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator
    from ai_edge_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

    return TFL_OP_CODE_TO_NAME.get(getattr(BuiltinOperator, opcode, None))
