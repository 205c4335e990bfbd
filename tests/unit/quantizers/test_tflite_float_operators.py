"""Operators that a recipe's rules leave float in a TFLite file: they are, and no others are."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from data_folders import refused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx_files import sqnr_db

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import Rule
from int8gate.quantizers.toolchains.tflite.collector import close, collect
from int8gate.quantizers.toolchains.tflite.convert import quantize
from int8gate.quantizers.toolchains.tflite.layer_list import layers
from int8gate.quantizers.toolchains.tflite.tensor_names import name_ends
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.runtimes.tflite_integers import (
    CONVERSIONS,
    what_is_integer,
    what_is_integer_in,
    with_kept,
)

PICTURES = np.random.default_rng(1).random((8, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """A network of many kinds of operators, with a branch, as a float file; and its ranges."""
    folder = tmp_path_factory.mktemp("floats")
    (folder / "float.tflite").write_bytes(_network())
    np.save(folder / "samples.npy", PICTURES)
    found = collect(folder / "float.tflite", folder / "samples.npy")
    close()
    ranges = {name: (float(each.minimum), float(each.maximum)) for name, each in found.items()}
    return folder / "float.tflite", ranges


def _network() -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def weights(*shape: int):
        return tf.constant(rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape), tf.float32)

    stem, middle, last = weights(3, 3, 3, 8), weights(3, 3, 8, 8), weights(1, 1, 8, 8)
    depthwise, dense = weights(3, 3, 8, 1), weights(8, 10)

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), name="image")])
    def network(image):
        a = tf.nn.relu(tf.nn.conv2d(image, stem, 2, "SAME", name="stem"))
        b = tf.nn.depthwise_conv2d(a, depthwise, [1] * 4, "SAME", name="depthwise")
        c = tf.nn.conv2d(b, middle, 1, "SAME", name="middle")
        both = tf.concat([a + c, tf.nn.max_pool2d(a, 2, 1, "SAME")], -1)
        one, two = tf.split(both, 2, -1)
        m = tf.sigmoid(one) * tf.nn.conv2d(two, last, 1, "SAME", name="last")
        flat = tf.reshape(tf.nn.avg_pool2d(m, 8, 1, "VALID"), (1, 8))
        return {"scores": tf.nn.softmax(tf.matmul(flat, dense, name="head"))}

    concrete = network.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


def mixed(*names: str, base: str = "tflite_int8"):
    """Full INT8 but for the operators that write tensors of these names."""
    plain = RECIPES[base]
    rules = [Rule(name, "float32", "float32") for name in names]
    return replace(plain, name="mixed", rules=(*plain.rules, *rules))


def quantized(floats, directory, *names, base="tflite_int8"):
    path, ranges = floats
    quantize(path, mixed(*names, base=base), ranges, None, directory)
    return directory / TFLITE


def computing(graph) -> list:
    """The operators of a file, without conversions."""
    return [operator for operator in graph.operators if operator.opcode not in CONVERSIONS]


KINDS = 13  # operators of the network
AVERAGE = 10  # which of them averages; behind an integer operator that is done on integers


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, KINDS - 1), min_size=1, max_size=KINDS - 1))
@example({3, 4, 5, 6, 7})
@example({AVERAGE})
@example({0, 12})
def test_whatever_is_left_float_is_float_and_all_else_as_before(floats, tmp_path_factory, kept):
    real = read_graph(floats[0])
    assert len(real.operators) == KINDS
    names = [operator.outputs[0].name for operator in real.operators]
    folder = tmp_path_factory.mktemp("mixed")
    path = folder / TFLITE
    chosen = mixed(*(names[at] for at in kept))
    notes = quantize(floats[0], chosen, floats[1], None, folder)["notes"]
    graph = read_graph(path)
    told = what_is_integer(graph)
    assert not told["float_ops"]
    assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} == {"int8"}
    for at, (before, after) in enumerate(zip(computing(real), computing(graph), strict=True)):
        assert before.opcode == after.opcode
        if at == AVERAGE and at in kept and at - 1 not in kept:
            assert not after.outputs[0].is_float
            assert after.outputs[0].name in notes[0]
            continue
        assert after.outputs[0].is_float is (at in kept)
        if len(after.inputs) > 1 and after.inputs[1].is_constant and at in kept:
            assert after.inputs[1].dtype in ("float32", "int32"), "weights, or a shape"
    assert len(notes) == (AVERAGE in kept and AVERAGE - 1 not in kept)
    session = LiteRTSession(path)
    for one, other in zip(
        LiteRTSession(floats[0]).predict(PICTURES), session.predict(PICTURES), strict=True
    ):
        assert sqnr_db(one, other) > 20


WEIGHTS_OF_4_BITS = ("CONV_2D", "FULLY_CONNECTED")


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from(["int4", "int8", "int16", "float32"]), min_size=KINDS, max_size=KINDS)
)
@example(["int16"] * KINDS)
@example(["int16", "int8"] * 6 + ["int16"])
@example(["int16", "float32"] * 6 + ["int16"])
@example(["int16", "int8", "int8", "int8", "int16", "int16", *["int8"] * 7])
def test_each_operator_has_the_width_that_the_rules_say(floats, tmp_path_factory, widths):
    real = read_graph(floats[0])
    named = {width: [] for width in ("int4", "int8", "int16", "float32")}
    for at, operator in enumerate(real.operators):
        if widths[at] == "int4" and operator.opcode not in WEIGHTS_OF_4_BITS:
            widths[at] = "int8"
        named[widths[at]].append(operator.outputs[0].name)
    del named["int8"]
    if len(named["float32"]) == KINDS:
        return
    chosen = RECIPES["tflite_int8"].with_widths("mixed", named)
    folder = tmp_path_factory.mktemp("widths")
    notes = quantize(floats[0], chosen, floats[1], None, folder)["notes"]
    graph = read_graph(folder / TFLITE)
    assert not what_is_integer(graph)["float_ops"]
    assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} == {"int8"}
    pairs = zip(computing(real), computing(graph), widths, strict=True)
    for at, (before, after, width) in enumerate(pairs):
        assert before.opcode == after.opcode
        found = after.outputs[0].dtype
        if at == AVERAGE and width != "int8" and widths[at - 1] == "int8":  # MUL: never int4
            assert found == "int8"
            assert any(after.opcode in note for note in notes)
        elif after.opcode == "MAX_POOL_2D" and width == "int8":  # goes along with its neighbours
            assert found == ("int16" if widths[0] == widths[5] == "int16" else "int8")
        else:
            assert found == ("int8" if width == "int4" else width)
        if after.opcode in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            assert after.inputs[1].dtype == ("int8" if width == "int16" else width)
            assert after.inputs[0].dtype == found
    given = [spec.predict(PICTURES)[0] for spec in map(LiteRTSession, (floats[0], folder / TFLITE))]
    assert sqnr_db(*given) > 20


@pytest.mark.parametrize("base", ["tflite_int8", "tflite_uint8"])
def test_int4_weights_change_nothing_but_the_weights(floats, tmp_path, base):
    """No conversion is left around them, and the file says which have 4 bits."""
    (tmp_path / "plain").mkdir()
    quantize(floats[0], RECIPES[base], floats[1], None, tmp_path / "plain")
    chosen = RECIPES[base].with_widths("mixed", {"int4": ["*middle*", "*head*"]})
    quantize(floats[0], chosen, floats[1], None, tmp_path)
    plain, graph = (read_graph(path / TFLITE) for path in (tmp_path / "plain", tmp_path))
    assert [o.opcode for o in plain.operators] == [o.opcode for o in graph.operators]
    assert graph.path.stat().st_size < plain.path.stat().st_size
    read = {id(t) for o in graph.operators for t in (*o.inputs, *o.outputs)}
    assert read == set(map(id, graph.tensors)), "nothing is left of what was float"
    told = what_is_integer(graph)
    assert [name.split()[0] for name in told["int4_ops"]] == list(WEIGHTS_OF_4_BITS)
    assert (told["fraction"], told["float_ops"]) == (1, [])
    one, other = (LiteRTSession(path).predict(PICTURES)[0] for path in (floats[0], graph.path))
    assert sqnr_db(one, other) > 20


def test_an_operator_without_an_int16_form_is_refused_by_its_name(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 3), name="image")])
    def network(image):
        return {"y": tf.nn.leaky_relu(image, name="leaky")}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    path = tmp_path / "float.tflite"
    path.write_bytes(converter.convert())
    (last,) = read_graph(path).operators
    chosen = RECIPES["tflite_int8"].with_widths("mixed", {"int16": ["?*"]})
    refused(
        lambda: quantize(path, chosen, dict.fromkeys(["image"], (0.0, 1.0)), None, tmp_path),
        f"mixed: AI Edge Quantizer has no int16 form of LEAKY_RELU ({last.outputs[0].name})",
    )
    (layer,) = layers(path)
    assert layer.widths == ("float32",)


def test_layers_say_which_widths_they_can_have(floats):
    """As `test_each_operator_has_the_width_that_the_rules_say` shows, they can."""
    for layer in layers(floats[0]):
        assert ("int4" in layer.widths) is (layer.kind in WEIGHTS_OF_4_BITS), layer.name
        assert layer.widths[-2:] == ("int16", "float32")


def test_a_row_that_stays_float_is_not_rounded_inside(floats, tmp_path):
    """Not even by a SPLIT, whose several outputs the quantizer does not know by their names."""
    names = {o.opcode: o.outputs[0].name for o in read_graph(floats[0]).operators}
    row = ("CONCATENATION", "SPLIT", "LOGISTIC", "CONV_2D", "MUL")
    path = quantized(floats, tmp_path, *(names[kind] for kind in row))
    graph = read_graph(path)
    told = [name.split()[0] for name in what_is_integer(graph)["float_by_recipe"]]
    assert told == ["DEQUANTIZE", "DEQUANTIZE", *row, "QUANTIZE"]


@pytest.mark.parametrize("base", ["tflite_int8", "tflite_uint8"])
def test_inputs_and_outputs_keep_their_dtype_where_the_ends_stay_float(floats, tmp_path, base):
    """They are converted inside the file: the first operator reads and the last gives 8 bits."""
    names = [operator.outputs[0].name for operator in read_graph(floats[0]).operators]
    path = quantized(floats, tmp_path, names[0], names[-1], base=base)
    session = LiteRTSession(path)
    assert {end.dtype for end in (*session.inputs, *session.outputs)} == {RECIPES[base].io}
    assert all(end.scale for end in (*session.inputs, *session.outputs))
    told = what_is_integer_in(path)
    assert not told["float_ops"]
    assert told["float_by_recipe"][0].startswith("DEQUANTIZE")
    assert told["float_by_recipe"][-1].startswith("QUANTIZE")


def test_a_plain_recipe_gives_the_same_bytes_as_ever(floats, tmp_path):
    """Nothing is noted in a file of which no rule leaves anything float."""
    path, ranges = floats
    quantize(path, RECIPES["tflite_int8"], ranges, None, tmp_path)
    assert not read_graph(tmp_path / TFLITE).metadata.keys() & {"int8gate.float_by_recipe"}
    assert what_is_integer_in(tmp_path / TFLITE) == {"fraction": 1.0, "float_ops": []}


def test_names_of_inputs_and_outputs_change_nothing(floats, tmp_path):
    last = read_graph(floats[0]).operators[-1].outputs[0].name
    path = quantized(floats, tmp_path, last, "*middle*")
    before = what_is_integer_in(path)
    (tmp_path / "named").mkdir()
    name_ends(path, ["picture"], ["answer"], tmp_path / "named")
    after = what_is_integer_in(tmp_path / "named" / TFLITE)
    assert len(after["float_by_recipe"]) == len(before["float_by_recipe"]) == 6
    assert not after["float_ops"]


def test_others_that_stay_float_still_fail(floats, tmp_path):
    """The file says it of one operator, and two are float."""
    path = quantized(floats, tmp_path, "*middle*", "*last*")
    kept = [o.index for o in read_graph(path).operators if "middle" in o.outputs[0].name]
    path.write_bytes(with_kept(path.read_bytes(), kept))
    told = what_is_integer_in(path)
    assert any("last" in name for name in told["float_ops"])
    assert not any("middle" in name for name in told["float_ops"])


@pytest.mark.parametrize("content", [b"5", b"{}", b"[", b"[[]]", b"[" * 100_000, b""])
def test_what_a_file_says_otherwise_is_not_believed(floats, tmp_path, content, monkeypatch):
    path = quantized(floats, tmp_path, "*middle*")
    graph = read_graph(path)
    spoiled = replace(graph, metadata={"int8gate.float_by_recipe": content})
    assert len(what_is_integer(spoiled)["float_ops"]) == 3


def test_rules_that_match_all_or_nothing_are_refused(floats, tmp_path):
    refused(lambda: quantized(floats, tmp_path, "?*"), "every operator", "tflite_fp32")
    refused(lambda: quantized(floats, tmp_path, "midle"), "'midle'", "did you mean", "middle")
