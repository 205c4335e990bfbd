"""The rule of `integer_only` on ONNX: what may compute in float, wherever it stands."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import pictures, ranges_of, save, sqnr_db, with_weights

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
SHAPE = (1, 3, 8, 8)
NET = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[1, 3, 8, 8] image) => ({end} out) {{
    {nodes}
}}
"""
# From a tensor x of (1, 4, 8, 8) to y of the same shape.
WITHOUT_KERNEL = {
    "Gelu": "y = Gelu (x)",
    "Softplus": "r = Softplus (x) s = Tanh (r) y = Mul (x, s)",  # which Mish is written as
    "HardSigmoid": "y = HardSigmoid (x)",
    "Tanh": "y = Tanh (x)",
    "Elu": "y = Elu (x)",
    "PRelu": "y = PRelu (x, slopes)",
    "Resize": "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
    'y = Resize <mode = "linear"> (p, , twice)',
    "InstanceNormalization": "y = InstanceNormalization (x, ones, zeros)",
    "Div": "r = Abs (x) s = Add (r, three) y = Div (x, s)",
    "Pad": "p = Pad (x, around, two) y = Slice (p, one_one, nine_nine, last_two)",
}
INTEGER = {
    "Relu": "y = Relu (x)",
    "Clip": "y = Clip (x, low, high)",
    "LeakyRelu": "y = LeakyRelu <alpha = 0.1> (x)",
    "PRelu of one slope": "y = PRelu (x, slope)",
    "Sigmoid": "y = Sigmoid (x)",
    "Add": "r = Relu (x) y = Add (r, x)",
    "Mul": "r = Sigmoid (x) y = Mul (r, x)",
    "Div by a number": "y = Div (x, three)",
    "Sub of a number": "y = Sub (x, three)",
    "Square": "y = Pow (x, two)",
    "Max": "y = Max (x, zero)",
    "MaxPool": "y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)",
    "Concat": "a, b = Split <axis = 1, num_outputs = 2> (x) y = Concat <axis = 1> (b, a)",
    "Resize": "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
    'y = Resize <mode = "nearest"> (p, , twice)',
    "Pad": "p = Pad (x, around) y = MaxPool <kernel_shape = [3, 3]> (p)",
    "Pad by zero": "p = Pad (x, around, zero) y = MaxPool <kernel_shape = [3, 3]> (p)",
    "Pad by reflection": 'p = Pad <mode = "reflect"> (x, around) '
    "y = AveragePool <kernel_shape = [3, 3]> (p)",
    "Tile": "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) y = Tile (p, twice_int)",
    "Transpose": "t = Transpose <perm = [0, 1, 3, 2]> (x) y = Relu (t)",
    "Shuffle": "s = Reshape (x, parts) t = Transpose <perm = [0, 2, 1, 3, 4]> (s) "
    "y = Reshape (t, whole)",
    "DepthToSpace": "s = SpaceToDepth <blocksize = 2> (x) y = DepthToSpace <blocksize = 2> (s)",
    "ConvTranspose": "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
    "t = ConvTranspose <kernel_shape = [4, 4], strides = [2, 2], pads = [1, 1, 1, 1], group = 2> "
    "(p, up, four) y = Relu (t)",
    "Einsum": 'y = Einsum <equation = "nchw,dc->ndhw"> (x, square)',
}
CONSTANTS = {
    "slopes": np.array([0.1, 0.2, 0.3, 0.4], np.float32).reshape(4, 1, 1),
    "slope": np.array([0.2], np.float32).reshape(1, 1, 1),
    "twice": np.array([1, 1, 2, 2], np.float32),
    "twice_int": np.array([1, 1, 2, 2]),
    "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32),
    "around": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "two": np.float32(2),
    "three": np.float32(3),
    "zero": np.float32(0),
    "low": np.float32(-0.5),
    "high": np.float32(0.5),
    "one_one": np.array([1, 1]),
    "nine_nine": np.array([9, 9]),
    "last_two": np.array([2, 3]),
    "parts": np.array([1, 2, 2, 8, 8]),
    "whole": np.array([1, 4, 8, 8]),
}


def network(middles: list[str], ends_in_softmax: bool) -> onnx.ModelProto:
    """Convolutions with `middles` between them, each a text from x to y."""
    random = np.random.default_rng(0)
    arrays = CONSTANTS | {
        "first": random.normal(0, 0.3, (4, 3, 3, 3)),
        "up": random.normal(0, 0.3, (4, 2, 4, 4)),
        "four": random.normal(0, 0.3, 4),
        "square": random.normal(0, 0.5, (4, 4)),
    }
    nodes = ["x0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, first, four)"]
    for number, text in enumerate(middles):
        inner = {"x": f"x{number}", "y": f"y{number}"}
        inner |= {name: f"{name}{number}" for name in "abprst"}
        words = [inner.get(word, word) for word in _words(text)]
        arrays[f"w{number}"] = random.normal(0, 0.3, (4, 4, 3, 3))
        nodes.append("".join(words))
        conv = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
        nodes.append(f"x{number + 1} = {conv} (y{number}, w{number}, four)")
    last = f"x{len(middles)}"
    nodes.append(
        f"out = Softmax <axis = 1> ({last})" if ends_in_softmax else f"out = Relu ({last})"
    )
    arrays = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    text = NET.format(nodes="\n    ".join(nodes), end="float[1, 4, 8, 8]")
    used = {name: array for name, array in arrays.items() if name in set(_words(text))}
    return with_weights(text, used)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


def quantized(model, folder):
    path = folder / "float.onnx"
    prepare(save(model, folder / "raw.onnx"), path)
    samples = pictures(8, SHAPE) * 2 - 1
    raw, rewritten = (OnnxSession(file).predict(samples)[0] for file in (folder / "raw.onnx", path))
    np.testing.assert_allclose(rewritten, raw, rtol=1e-3, atol=1e-4 * np.abs(raw).max())
    quantize(path, STATIC, ranges_of(path, tensors_to_quantize(path), samples), folder)
    pair = [OnnxSession(file).predict(samples)[0] for file in (path, folder / ONNX)]
    return onnx_graph.what_ran_as_integer(folder / ONNX), sqnr_db(*pair)


@pytest.mark.parametrize("kind", sorted(INTEGER))
def test_what_has_an_integer_kernel_runs_on_it(tmp_path, kind):
    told, sqnr = quantized(network([INTEGER[kind]], False), tmp_path)
    assert told == {"fraction": 1.0, "float_ops": []}
    assert sqnr > 25


@pytest.mark.parametrize("kind", sorted(WITHOUT_KERNEL))
def test_what_has_none_is_named_and_fails_nothing(tmp_path, kind):
    told, sqnr = quantized(network([WITHOUT_KERNEL[kind]], False), tmp_path)
    assert told["fraction"] == 1
    assert told["float_ops"] == []
    assert any(said.startswith(f"{kind} (") for said in told["float_by_kernel"])
    assert sqnr > 20


MIDDLES = st.lists(
    st.one_of(
        st.sampled_from(sorted(INTEGER.values())), st.sampled_from(sorted(WITHOUT_KERNEL.values()))
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@given(MIDDLES, st.booleans(), st.integers(0, 3))
def test_an_operator_that_could_be_integer_fails_wherever_another_stands(
    tmp_path_factory, middles, ends_in_softmax, place
):
    """A Softmax elsewhere excuses nothing: take the scales from behind one sum, and it is named."""
    folder = tmp_path_factory.mktemp("rule")
    middles.insert(min(place, len(middles)), INTEGER["Add"])
    model = network(middles, ends_in_softmax)
    number = min(place, len(middles) - 1)
    told, _ = quantized(model, folder)
    assert told["float_ops"] == []
    assert told["fraction"] == 1
    broken = without_scale_behind(onnx.load(str(folder / ONNX)), f"y{number}")
    spoiled = onnx_graph.what_ran_as_integer(save(broken, folder / "broken.onnx"))
    assert spoiled["float_ops"], "the sum, or the convolution that reads it"
    assert spoiled["fraction"] < 1 or "Add (" in spoiled["float_ops"][0]


def without_scale_behind(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The Q and DQ behind a tensor taken out: its readers get floats."""
    graph = model.graph
    quantizer = next(n for n in graph.node if n.op_type[0] == "Q" and tensor in n.input[0])
    back = [n for n in graph.node if quantizer.output[0] in n.input]
    gone = {node.output[0] for node in back}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in gone:
                node.input[place] = quantizer.input[0]
    for node in (quantizer, *back):
        graph.node.remove(node)
    return model


FIRST = {  # from the image to y of (1, 192)
    "Flatten": "y = Flatten (image)",
    "Reshape": "y = Reshape (image, row)",
    "Transpose": "t = Transpose <perm = [0, 2, 3, 1]> (image) y = Flatten (t)",
    "two moves": "t = Transpose <perm = [0, 1, 3, 2]> (image) r = Unsqueeze (t, two_int) "
    "y = Flatten (r)",
    "SpaceToDepth": "s = SpaceToDepth <blocksize = 2> (image) y = Flatten (s)",
    "Split": "a, b, c = Split <axis = 1, num_outputs = 3> (image) "
    "d = Concat <axis = 1> (c, b, a) y = Flatten (d)",
}


@pytest.mark.parametrize("kind", sorted(FIRST))
def test_what_only_moves_the_input_moves_integers(tmp_path, kind):
    """A network of features often begins with a Flatten."""
    text = NET.format(end="float[1, 5]", nodes=f"{FIRST[kind]} out = Gemm (y, w)")
    weights = np.random.default_rng(0).normal(0, 0.1, (192, 5)).astype(np.float32)
    constants = {"w": weights, "row": np.array([1, 192]), "two_int": np.array([2])}
    model = with_weights(text, {name: each for name, each in constants.items() if name in text})
    ran, sqnr = quantized(model, tmp_path)
    assert ran == {"fraction": 1.0, "float_ops": []}
    assert sqnr > 30
