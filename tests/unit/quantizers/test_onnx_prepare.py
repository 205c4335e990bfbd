"""Preparation keeps the values of a graph and takes away what the stock quantizer stumbles on."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, ranges_of, reference, save, sqnr_db, with_weights

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
NET = """
<ir_version: 8, opset_import: ["" : {opset}]>
net (float[1, 3, 8, 8] image) => (float[1, {sides}] out) {{ {nodes} }}
"""


def prepared(model, directory):
    target = directory / "float.onnx"
    prepare(save(model, directory / "raw.onnx"), target)
    return target


def same_values(model, path, shape=(1, 3, 8, 8)) -> None:
    """The prepared file computes what ONNX defines for the model as it was."""
    fed = pictures(1, shape)
    for expected, found in zip(reference(model, fed), OnnxSession(path).run([fed]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def operators_of(path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def net(nodes: str, arrays: dict, sides: str = "3, 8, 8", opset: int = 17):
    return with_weights(NET.format(nodes=nodes, sides=sides, opset=opset), arrays)


def per_channel(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(3, 1, 1)


CHAINS = st.lists(
    st.tuples(
        st.sampled_from(["Add", "Sub", "Mul", "Div"]),
        st.booleans(),
        st.lists(st.floats(0.25, 4, width=32), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(CHAINS)
def test_a_chain_of_normalizations_is_one_convolution(tmp_path_factory, chain):
    tmp_path, nodes, arrays, last = tmp_path_factory.mktemp("chain"), [], {}, "image"
    for number, (kind, is_first, values) in enumerate(chain):
        is_first = is_first or kind == "Div"  # nothing divides by a picture
        result = "out" if number == len(chain) - 1 else f"t{number}"
        pair = f"{last}, c{number}" if is_first else f"c{number}, {last}"
        nodes.append(f"{result} = {kind} ({pair})")
        arrays[f"c{number}"] = per_channel(*values)
        last = result
    model = net(" ".join(nodes), arrays)
    path = prepared(model, tmp_path)
    assert operators_of(path) == ["Conv"]
    same_values(model, path)


@pytest.mark.parametrize("kind", ["float16", "double", "int64", "int32"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
def test_only_float32_becomes_a_convolution(tmp_path, kind, operator):
    """A Conv of weights in float32 takes nothing else."""
    nodes = f"cast = Cast <to = {KINDS[kind]}> (image) r = {operator} (cast, c) "
    dtype = {"double": "float64"}.get(kind, kind)
    model = net(
        nodes + "out = Cast <to = 1> (r)", {"c": np.arange(1, 4).reshape(3, 1, 1).astype(dtype)}
    )
    path = prepared(model, tmp_path)
    assert "Conv" not in operators_of(path)
    fed = pictures(1, (1, 3, 8, 8)) * 100
    (expected,) = reference(model, fed)
    np.testing.assert_allclose(OnnxSession(path).run([fed])[0], expected, rtol=2e-3, atol=1e-2)


KINDS = {"float16": 10, "double": 11, "int64": 7, "int32": 6}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_transposed_convolution_is_a_convolution_and_a_turn(tmp_path_factory, data):
    """Whatever kernel, stride, padding and groups; without output where padding takes it all."""
    draw = data.draw
    groups, kernel = draw(st.integers(1, 3)), [draw(st.integers(1, 5)) for _ in "hw"]
    inputs, outputs = groups * draw(st.integers(1, 2)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 4))
    extra = [draw(st.integers(0, stride - 1)) for _ in "hw"]
    pads = [draw(st.integers(0, kernel[side % 2] - 1)) for side in range(4)]
    sides = [draw(st.integers(1, 5)) for _ in "hw"]
    grown = [
        (side - 1) * stride + kernel[i] - pads[i] - pads[i + 2] + extra[i]
        for i, side in enumerate(sides)
    ]
    assume(min(grown) > 0)
    random = np.random.default_rng(0)
    arrays = {
        "w": random.normal(size=(inputs, outputs, *kernel)).astype(np.float32),
        "b": random.normal(size=groups * outputs).astype(np.float32),
    }
    told = f"strides = {[stride] * 2}, pads = {pads}, output_padding = {extra}, group = {groups}"
    bias = draw(st.sampled_from(["", ", b"]))
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        up (float[1, {inputs}, {sides[0]}, {sides[1]}] image) => (float[1, c, h, w] out) {{
            out = ConvTranspose <{told}> (image, w{bias})
        }}"""
    model = with_weights(text, arrays if bias else {"w": arrays["w"]})
    path = prepared(model, tmp_path_factory.mktemp("up"))
    assert "ConvTranspose" not in operators_of(path)
    fed = pictures(1, (1, inputs, *sides))
    (expected,) = OnnxSession(path.parent / "raw.onnx").run([fed])
    np.testing.assert_allclose(OnnxSession(path).run([fed])[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    "equation",
    ["nchw,dc->ndhw", "nchw,cd->nhwd", "nchw,nchd->nwd", "nchw,nkhw->nck", "nchw,nchw->n"],
)
def test_a_sum_of_einstein_is_a_product(tmp_path, equation):
    """Each letter summed, a row, a column or a batch, with weights and between activations."""
    letters = equation.partition("->")[0].split(",")
    sizes = {"n": 1, "c": 3, "h": 8, "w": 8, "d": 5, "k": 4}
    second = [sizes[letter] for letter in letters[1]]
    expected = np.einsum(equation, np.zeros((1, 3, 8, 8)), np.zeros(second))
    nodes = f'out = Einsum <equation = "{equation}"> (image, other)'
    other = np.random.default_rng(0).normal(size=second).astype(np.float32)
    if len(second) > 2:  # as an activation
        nodes = f"relu = Relu (other) {nodes.replace('other', 'relu')}"
    sides = ", ".join(map(str, expected.shape[1:]))
    model = net(nodes, {"other": other}, sides or "1")
    if not sides:
        del model.graph.output[0].type.tensor_type.shape.dim[1:]
    path = prepared(model, tmp_path)
    assert "Einsum" not in operators_of(path)
    # Weights over the channels of a map, which stay where they are, are a convolution.
    assert ("Conv" if equation == "nchw,dc->ndhw" else "MatMul") in operators_of(path)
    same_values(model, path)


def test_a_batch_normalization_that_stands_alone_is_a_convolution(tmp_path):
    random = np.random.default_rng(0)
    arrays = {name: random.uniform(0.5, 2, 3).astype(np.float32) for name in "abcd"}
    model = net("n = BatchNormalization <epsilon = 0.1> (image, a, b, c, d) out = Relu (n)", arrays)
    path = prepared(model, tmp_path)
    assert operators_of(path) == ["Conv", "Relu"]
    same_values(model, path)


@pytest.mark.parametrize(("keeps", "sides"), [(1, "3, 1, 1"), (0, "3")])
@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_over_a_picture_is_a_pooling(tmp_path, keeps, sides, opset):
    nodes, arrays = f"out = ReduceMean <axes = [2, 3], keepdims = {keeps}> (image)", {}
    if opset >= 18:
        nodes, arrays = f"out = ReduceMean <keepdims = {keeps}> (image, axes)", {"axes": [-1, -2]}
    model = net(nodes, arrays, sides, opset)
    path = prepared(model, tmp_path)
    assert operators_of(path)[0] == "GlobalAveragePool"
    same_values(model, path)


def test_another_mean_stays(tmp_path):
    model = net("out = ReduceMean <axes = [1, 2]> (image)", {}, "1, 1, 8")
    path = prepared(model, tmp_path)
    assert operators_of(path) == ["ReduceMean"]
    same_values(model, path)


def test_one_pixel_that_is_enlarged_is_repeated(tmp_path):
    nodes = 'one = GlobalAveragePool (image) out = Resize <mode = "linear"> (one, , scales)'
    model = net(nodes, {"scales": np.array([1, 1, 8, 8], np.float32)})
    path = prepared(model, tmp_path)
    same_values(model, path)
    quantized_pair(path, tmp_path)
    operators = onnx_graph.read_operators(tmp_path / ONNX)
    assert not onnx_graph.float_leftovers(operators)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([(5,), (1, 5), (1,), (1, 1), ()]),
    st.sampled_from([1.0, 0.5, -2.0]),
    st.sampled_from([1.0, 3.0]),
    st.booleans(),
)
def test_every_gemm_becomes_one_that_can_be_quantized(
    tmp_path_factory, shape, alpha, beta, is_turned
):
    tmp_path, random = tmp_path_factory.mktemp("gemm"), np.random.default_rng(0)
    w = random.normal(size=(5, 192) if is_turned else (192, 5)).astype(np.float32)
    c = random.normal(size=shape).astype(np.float32)
    settings_of = f"alpha = {alpha}, beta = {beta}, transB = {int(is_turned)}"
    nodes = f"flat = Flatten (image) out = Gemm <{settings_of}> (flat, w, c)"
    model = net(nodes, {"w": w, "c": c}, "5")
    path = prepared(model, tmp_path)
    same_values(model, path)
    real, found = quantized_pair(path, tmp_path)
    assert sqnr_db(real, found) > 30
    assert onnx_graph.integer_fraction(onnx_graph.read_operators(tmp_path / ONNX)) == 1


def quantized_pair(path, directory):
    samples = pictures(8, tuple(OnnxSession(path).inputs[0].shape))
    quantize(path, STATIC, ranges_of(path, tensors_to_quantize(path), samples), directory)
    return [OnnxSession(file).predict(samples)[0] for file in (path, directory / ONNX)]


SHARED = """
    a = Conv <kernel_shape = [1, 1]> (image, w, b)
    ar = Relu (a)
    c = Conv <kernel_shape = [1, 1]> (ar, w, b)
    cr = Sigmoid (c)
    d = Add (cr, bias_map)
    e = Mul (d, b_too)
    f = MatMul (e, m)
    g = Reshape (f, flat)
    out = Gemm (g, m, row)
"""


def test_constants_that_several_nodes_share_keep_their_roles(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "w": random.normal(size=(3, 3, 1, 1)),
        "b": random.normal(size=3),
        "bias_map": random.normal(size=(1, 3, 8, 8)),
        "b_too": random.normal(size=(8,)),
        "m": random.normal(size=(8, 8)),
        "row": random.normal(size=(8,)),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    model = net(SHARED, arrays | {"flat": np.array([24, 8])}, "8")
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for side in (24, 8):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = side
    for node in model.graph.node:  # as some exporters leave them
        node.name = ""
    path = prepared(model, tmp_path)
    names = [node.name for node in onnx.load(str(path)).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    same_values(model, path)
    real, found = quantized_pair(path, tmp_path)
    assert sqnr_db(real, found) > 25


def test_traces_and_unused_parts_go(tmp_path):
    model = cnn()
    model.graph.node[0].metadata_props.add(key="stack_trace", value="/home/somebody/net.py")
    model.graph.initializer.add(name="left_over", data_type=1, dims=[1000], raw_data=bytes(4000))
    path = prepared(model, tmp_path)
    assert b"somebody" not in path.read_bytes()
    found = onnx.load(str(path))
    assert "left_over" not in {tensor.name for tensor in found.graph.initializer}
    assert {entry.domain for entry in found.opset_import} <= {"", "ai.onnx"}


def test_preparing_twice_changes_nothing(tmp_path):
    path = prepared(cnn(), tmp_path)
    again = tmp_path / "again.onnx"
    prepare(path, again)
    assert operators_of(again) == operators_of(path)
    np.testing.assert_array_equal(
        OnnxSession(again).predict(pictures(1))[0], OnnxSession(path).predict(pictures(1))[0]
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_assignment_to_constant_places_only_moves_values(tmp_path_factory, data):
    """A box of any number of axes is joined of slices, other places are gathered."""
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    is_box = data.draw(st.booleans())
    if is_box:
        ends = [sorted(data.draw(st.permutations(range(side + 1)))[:2]) for side in shape]
        places = np.stack(np.meshgrid(*(np.arange(*e) for e in ends), indexing="ij"), axis=-1)
    else:
        some = data.draw(st.lists(st.integers(0, shape[0] - 1), min_size=1, unique=True))
        places = np.array(some)[:, None] - data.draw(st.sampled_from([0, shape[0]]))
    given_shape = [*places.shape[:-1], *shape[places.shape[-1] :]]
    sides = ", ".join(map(str, shape))
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        set (float[{sides}] image) => (float[{sides}] out) {{
            relu = Relu (image)
            twice = Add (updates, updates)
            out = ScatterND (relu, places, twice)
        }}"""
    updates = np.random.default_rng(0).normal(size=given_shape).astype(np.float32)
    model = with_weights(text, {"places": places.astype(np.int64), "updates": updates})
    path = prepared(model, tmp_path_factory.mktemp("set"))
    assert "ScatterND" not in operators_of(path)
    assert not is_box or "Gather" not in operators_of(path)
    fed = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    (expected,) = OnnxSession(path.parent / "raw.onnx").run([fed])
    np.testing.assert_array_equal(OnnxSession(path).run([fed])[0], expected)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([(2, 2), (4, 4), (8, 8), (2, 4)]), st.booleans(), st.booleans())
def test_tokens_of_patches_are_a_product_with_a_float_result(
    tmp_path_factory, kernel, has_bias, has_gaps
):
    tmp_path, random = tmp_path_factory.mktemp("patches"), np.random.default_rng(0)
    arrays = {
        "w": random.normal(0, 0.2, (6, 3, *kernel)).astype(np.float32),
        "b": random.normal(size=6).astype(np.float32),
        "one": np.ones(6, np.float32),
        "m": random.normal(size=(6, 6)).astype(np.float32),
        "row": np.array([1, 6, -1]),
    }
    strides = [side + has_gaps for side in kernel]
    nodes = f"""
        map = Conv <strides = {strides}> (image, w{", b" if has_bias else ""})
        flat = Reshape (map, row)
        tokens = Transpose <perm = [0, 2, 1]> (flat)
        normal = LayerNormalization (tokens, one)
        out = MatMul (normal, m)
    """
    count = np.prod([len(range(0, 9 - k, s)) for k, s in zip(kernel, strides, strict=True)])
    model = net(nodes, arrays, f"{count}, 6")
    path = prepared(model, tmp_path)
    same_values(model, path)
    assert operators_of(path).count("Conv") == has_gaps
    real, found = quantized_pair(path, tmp_path)
    assert sqnr_db(real, found) > 30
    assert onnx_graph.integer_fraction(onnx_graph.read_operators(tmp_path / ONNX)) == 1
    outputs = {name for node in onnx.load(str(tmp_path / ONNX)).graph.node for name in node.output}
    is_rounded = any("map" in name and "QuantizeLinear" in name for name in outputs)
    assert is_rounded == has_gaps
