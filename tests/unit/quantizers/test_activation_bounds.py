"""A Relu or Clip holds in the artifact, also where its range is wider than what it lets through."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from int8gate.quantizers.calibration.thresholds import widened
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

BOUNDS = {"Relu": (0.0, np.inf), "Clip": (0.0, 6.0), "hard": (-1.0, 1.0)}


def written(kind: str, folder):
    """A convolution by 1 and an activation, and a convolution by 1 behind it."""
    low, high = BOUNDS[kind]
    one = numpy_helper.from_array(np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1), "one")
    ends = [numpy_helper.from_array(np.float32(end), f"end_{end}") for end in (low, high)]
    given = ["conv"] if kind == "Relu" else ["conv", *(end.name for end in ends)]
    nodes = [
        helper.make_node("Conv", ["image", "one"], ["conv"], "conv"),
        helper.make_node("Relu" if kind == "Relu" else "Clip", given, ["bounded"], "bounded"),
        helper.make_node("Conv", ["bounded", "one"], ["scores"], "scores"),
    ]
    shape = [1, 2, 1, 40]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", "scores")]
    constants = [one, *(ends if kind != "Relu" else [])]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "raw.onnx"))
    prepare(folder / "raw.onnx", folder / "float.onnx")
    return folder / "float.onnx"


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("recipe", ["onnx_int8", "onnx_int8_power_of_two"])
@settings(max_examples=12, deadline=None)
@given(low=st.floats(-9, 0), high=st.floats(0.5, 9))
def test_what_lies_beyond_is_cut_off(tmp_path_factory, kind, recipe, low, high):
    folder = tmp_path_factory.mktemp("bounds")
    path, chosen = written(kind, folder), RECIPES[recipe]
    wide = widened((low, high), chosen.scales, is_unsigned=True)
    ranges = dict.fromkeys(tensors_to_quantize(path), (-10.0, 10.0)) | {"bounded": wide}
    quantize(path, chosen, ranges, folder)
    values = np.linspace(-9, 9, 80, dtype=np.float32).reshape(1, 2, 1, 40)
    (found,) = OnnxSession(folder / ONNX).run([values])
    step, of_others = (wide[1] - wide[0]) / 255, 20 / 255
    wanted = np.clip(np.clip(values, *BOUNDS[kind]), *wide)
    assert np.abs(found - wanted).max() <= step / 2 + 1.1 * of_others
    within = (max(BOUNDS[kind][0], wide[0]), min(BOUNDS[kind][1], wide[1]))
    assert found.min() >= within[0] - step / 2 - of_others / 2 - 1e-4
    assert found.max() <= within[1] + step / 2 + of_others / 2 + 1e-4
