"""Repetitions of a TFLite file as CONCATENATION: the same numbers, and an NPU takes them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite.broadcasts import MOST, with_concatenations
from int8gate.quantizers.toolchains.tflite.collector import close, collect
from int8gate.quantizers.toolchains.tflite.convert import quantize
from int8gate.quantizers.toolchains.tflite.from_torch import to_tflite
from int8gate.runtimes.artifact import PROGRAM, TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import graph_of, opened, read_graph, written
from int8gate.targets.ethos_u import estimate


def repeating(small: tuple[int, ...], large: tuple[int, ...], target: Path) -> Path:
    """A float file of negation, repetition, and what reads it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(small, name="given")])
    def network(x):
        return {"y": tf.exp(tf.broadcast_to(tf.nn.relu(x - 0.25), large))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    target.write_bytes(converter.convert())
    return target


def kinds(model: bytes) -> Counter:
    return Counter(operator.opcode for operator in graph_of(model, Path("m.tflite")).operators)


def changed(path: Path) -> bytes:
    whole = opened(path.read_bytes())
    with_concatenations(whole)
    return written(whole)


SIDES = st.lists(
    st.tuples(st.sampled_from([1, 1, 2, 3]), st.integers(1, 9)), min_size=1, max_size=3
)


@settings(max_examples=12, deadline=None)
@given(SIDES)
@example([(2, 1), (1, 2), (3, 1)])
@example([(1, 9), (1, 9)])
@example([(1, 8), (1, 8)])
def test_what_is_repeated_is_the_same_and_no_broadcast_is_left(tmp_path_factory, sides):
    small = (1, *(side for side, _ in sides))
    large = (1, *(side * (times if side == 1 else 1) for side, times in sides))
    path = repeating(small, large, tmp_path_factory.mktemp("repeating") / "float.tflite")
    x = np.random.default_rng(0).normal(0, 1, small).astype(np.float32)
    before = kinds(path.read_bytes())
    model = changed(path)
    copies = int(np.prod(large)) // int(np.prod(small))
    grown = sum(one != other for one, other in zip(small, large, strict=True))
    if before["BROADCAST_TO"] and copies <= MOST:
        assert kinds(model)["CONCATENATION"] == grown
        assert not kinds(model)["BROADCAST_TO"]
    else:
        assert kinds(model) == before
    after = path.with_name("changed.tflite")
    after.write_bytes(model)
    outputs = [LiteRTSession(each).predict(x)[0] for each in (path, after)]
    assert outputs[0].shape == large
    np.testing.assert_array_equal(*outputs)
    assert changed(after) == model, "once is enough"


def test_integers_and_another_number_of_axes_stay(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 3), tf.int32), tf.TensorSpec((3,))])
    def network(numbers, x):
        return {"n": tf.broadcast_to(numbers, (2, 3)), "y": tf.broadcast_to(tf.abs(x), (2, 3))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    path = tmp_path / "float.tflite"
    path.write_bytes(converter.convert())
    assert kinds(path.read_bytes())["BROADCAST_TO"] == 2
    assert kinds(changed(path)) == kinds(path.read_bytes())


def test_of_grouped_query_attention_an_npu_takes_every_operator(tmp_path):
    """By Vela's own count: with BROADCAST_TO it leaves that to the CPU."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 16), name="given")])
    def network(x):
        keys = tf.reshape(tf.matmul(x, tf.eye(16)), (1, 2, 1, 8, 8))
        every = tf.reshape(tf.broadcast_to(keys, (1, 2, 3, 8, 8)), (1, 6, 8, 8))
        return {"y": tf.matmul(every, every, transpose_b=True)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    left = {}
    for name in ("before", "after"):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "float.tflite"
        path.write_bytes(converter.convert())
        if name == "after":
            path.write_bytes(changed(path))
        samples = np.random.default_rng(0).normal(0, 1, (4, 8, 16)).astype(np.float32)
        np.save(folder / "samples.npy", samples)
        found = collect(path, folder / "samples.npy")
        close()
        ranges = {n: (float(each.minimum), float(each.maximum)) for n, each in found.items()}
        quantize(path, RECIPES["tflite_int8"], ranges, None, folder)
        assert not [o for o in read_graph(folder / TFLITE).operators if o.outputs[0].is_float]
        left[name] = estimate(folder / TFLITE, "ethos_u85_512", folder).cpu_ops
    assert left == {"before": 1, "after": 0}


def test_an_expansion_of_pytorch_comes_without_a_broadcast(tmp_path):
    import torch

    class Attention(torch.nn.Module):
        def forward(self, picture):
            keys = torch.relu(picture).flatten(2).reshape(1, 2, 1, 4, 16)
            every = keys.expand(1, 2, 3, 4, 16).reshape(1, 6, 4, 16)
            return every @ every.transpose(2, 3)

    example = (torch.rand(1, 8, 4, 4) - 0.5,)
    torch.export.save(torch.export.export(Attention().eval(), example), str(tmp_path / PROGRAM))
    to_tflite(tmp_path, tmp_path)
    assert kinds((tmp_path / TFLITE).read_bytes())["CONCATENATION"] == 1
    assert not kinds((tmp_path / TFLITE).read_bytes())["BROADCAST_TO"]
    picture = np.ascontiguousarray(example[0].permute(0, 2, 3, 1).numpy())
    (found,) = LiteRTSession(tmp_path / TFLITE).predict(picture)
    np.testing.assert_allclose(found, Attention()(*example).numpy(), atol=1e-5)
