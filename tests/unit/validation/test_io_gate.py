"""The gate of inputs and outputs: dtypes, scales, and pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from gate_messages import CASE, artifact, assert_failed

from int8gate.quantizers.recipe import RECIPES
from int8gate.runtimes.artifact import Artifact, TensorSpec
from int8gate.validation import gates
from int8gate.validation.gates import form

INT8, UINT8 = RECIPES["tflite_int8"], RECIPES["tflite_uint8"]


def io_gate(found: Artifact, recipe=INT8, pixel_range=(0.0, 1.0)) -> gates.GateResult:
    return gates.io_dtype_gate(found, recipe, pixel_range, CASE)


def test_io_gate_takes_what_was_declared():
    assert io_gate(artifact()).status == "passed"
    assert io_gate(artifact("uint8", zero_point=0), UINT8).status == "passed"
    assert io_gate(artifact("int16", zero_point=0), RECIPES["tflite_int16x8"]).status == "passed"
    in_float = artifact("float32", None, None)
    assert io_gate(in_float, RECIPES["tflite_fp32"]).status == "passed"
    assert io_gate(artifact(scale=5.0), pixel_range=None).status == "passed"


@pytest.mark.parametrize(
    ("found", "facts"),
    [
        (artifact("float32", None, None), ("input image is float32", "declares int8")),
        (artifact("uint8", zero_point=0), ("input image is uint8",)),
        (artifact(dtype="int8", scale=None), ("has scale",)),
        (artifact(scale=0.0), ("input image has scale 0",)),
        (artifact(scale=-1.0), ("scale -1",)),
        (artifact(scale=math.inf), ("scale inf",)),
        (artifact(zero_point=-129), ("zero point -129, outside int8",)),
    ],
)
def test_io_gate_refuses(found, facts):
    result = io_gate(found)
    if found.inputs[0].scale is None and found.inputs[0].dtype == "int8":
        assert "scale None" in result.message  # None is the finding here
        result = replace(result, message=result.message.replace("None", "absent"))
    assert_failed(result, *facts)


def test_io_gate_looks_at_outputs_too():
    in_float = TensorSpec("classes", (1, 10), "float32")
    assert_failed(io_gate(replace(artifact(), outputs=(in_float,))), "output classes is float32")


@pytest.mark.parametrize("numbers", ["int64", "int32", "bool"])
def test_io_gate_takes_numbers_as_the_float_model_gives_them(numbers):
    """Those of an ArgMax or a TopK: no scale, and the dtype that they had."""
    places = TensorSpec("places", (1, 3), numbers)
    found = replace(artifact(), outputs=(*artifact().outputs, places))
    value = TensorSpec("classes", (1, 10), "float32")
    real = replace(artifact("float32", None, None), outputs=(value, places))
    judge = gates.io_dtype_gate
    assert judge(found, INT8, (0.0, 1.0), CASE, real).status == "passed"
    assert judge(found, INT8, (0.0, 1.0), CASE).status == "passed", "of a file that comes quantized"
    changed = replace(found, outputs=(found.outputs[0], replace(places, dtype="float32")))
    refused = judge(changed, INT8, (0.0, 1.0), CASE, real)
    assert_failed(refused, f"places is float32, in the float model {numbers}", "a number, not a")
    lost = replace(found, outputs=(places, places))
    refused = judge(lost, INT8, (0.0, 1.0), CASE, real)
    assert_failed(refused, f"output places is {numbers}, tflite_int8 declares int8")


def test_io_gate_names_the_cause_of_what_it_found():
    in_float = artifact("float32", None, None)
    assert "kept a float border" in io_gate(in_float).message
    assert "do not span 0..255" not in io_gate(in_float).message
    assert "do not span 0..255" in io_gate(artifact(scale=2 / 255)).message
    assert "no scale" in io_gate(artifact(scale=0.0)).message


@pytest.mark.parametrize("off", [-1, 1])
def test_io_gate_scale_must_map_raw_pixels(off):
    limit = form.SCALE_TOLERANCE
    within, beyond = (1 + off * limit * f for f in (0.99, 1.01))
    assert io_gate(artifact(scale=within / 255)).status == "passed"
    assert_failed(io_gate(artifact(scale=beyond / 255)), "raw pixels need 0.00392157")


@pytest.mark.parametrize("off", [-1, 1])
def test_io_gate_zero_point_must_map_pixel_0(off):
    """SIGNED_UNIT's pixel 0 is -1: level 0.5 with zero point 0, as a converter rounds it."""
    exact = artifact(scale=2 / 255, zero_point=0)
    assert io_gate(exact, pixel_range=(-1.0, 1.0)).status == "passed"
    beyond = artifact(scale=2 / 255, zero_point=2 * off)
    level = 0.5 + 2 * off
    result = io_gate(beyond, pixel_range=(-1.0, 1.0))
    assert_failed(result, f"stores pixel 0 as level {level} instead of 0")


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
def test_io_gate_of_scales_that_silicon_asks_for(scales):
    """No input of these takes raw pixels: pixel 0 of 0..1 is its level 0, in the middle."""
    asked, least = RECIPES[f"tflite_int8_{scales}"], 1 / 127
    step = least if scales == "symmetric" else 2.0**-6
    assert io_gate(artifact(scale=step, zero_point=0), asked).status == "passed"
    signed = io_gate(artifact(scale=step, zero_point=0), asked, pixel_range=(-1.0, 1.0))
    assert signed.status == "passed"
    shifted = io_gate(artifact(scale=step, zero_point=-128), asked)
    assert_failed(shifted, "has zero point -128 and not 0", "another scale than the recipe's")
    narrow = 0.96 * least if scales == "symmetric" else 2.0**-7
    cut = io_gate(artifact(scale=narrow, zero_point=0), asked, pixel_range=(0.0, 1.1))
    assert_failed(cut, "0..1.1 needs", "do not span 0..255")
    if scales == "power_of_two":
        odd = io_gate(artifact(scale=0.02, zero_point=0), asked)
        assert_failed(odd, "scale 0.02, which is no power of two")
