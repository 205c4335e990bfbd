"""Ranges put into a TFLite file: what was asked for is there, and nothing else changed."""

from __future__ import annotations

import os

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import IMAGE, write_all

from int8gate.quantizers.toolchains.tflite.ranges import activations, with_outputs, with_ranges

ENDS = st.floats(-(2.0**99), 2.0**99, width=32)
RANGES = st.tuples(ENDS, ENDS).map(sorted).map(tuple)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> bytes:
    return write_all(tmp_path_factory.mktemp("models"))["fp32"].read_bytes()


@pytest.fixture(scope="module")
def loop(tmp_path_factory) -> bytes:
    return write_all(tmp_path_factory.mktemp("models"))["loop"].read_bytes()


def whole(content: bytes):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))


def packed(model) -> bytes:
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def ranges_in(content: bytes) -> dict[int, tuple[float, float]]:
    tensors = enumerate(whole(content).subgraphs[0].tensors)
    return {
        index: (float(tensor.quantization.min[0]), float(tensor.quantization.max[0]))
        for index, tensor in tensors
        if tensor.quantization is not None and tensor.quantization.min is not None
    }


def plain(model) -> str:
    """All that a model holds but its ranges, comparable."""
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = None

    def walked(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, list):
            return [walked(entry) for entry in value]
        return (
            {k: walked(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value
        )

    return repr(walked(model))


def run(content: bytes) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    picture = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return [interpreter.get_tensor(found["index"]) for found in interpreter.get_output_details()]


@pytest.fixture(scope="module")
def known(network) -> dict[str, int]:
    return activations(network)


@given(ranges=st.lists(RANGES, max_size=8), skipped=st.integers(0, 3))
def test_the_ranges_that_were_given_are_in_the_file(network, known, ranges, skipped):
    chosen = dict(zip(list(known)[skipped:], ranges, strict=False))
    written = with_ranges(network, chosen)
    assert ranges_in(written) == {known[name]: ends for name, ends in chosen.items()}
    assert plain(whole(written)) == plain(whole(network))


def test_a_file_with_ranges_computes_the_same(network):
    written = with_ranges(network, dict.fromkeys(activations(network), (-1.0, 2.0)))
    for before, after in zip(run(network), run(written), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_last_ranges_hold(network):
    once = with_ranges(network, dict.fromkeys(activations(network), (-1.0, 2.0)))
    name, index = next(iter(activations(network).items()))
    assert ranges_in(with_ranges(once, {name: (-3.0, 4.0)}))[index] == (-3.0, 4.0)


def test_tensors_without_a_quantization_field_get_one(network):
    model = whole(network)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = None
    bare = packed(model)
    known = activations(bare)
    written = with_ranges(bare, dict.fromkeys(known, (-1.0, 2.0)))
    assert ranges_in(written) == dict.fromkeys(known.values(), (-1.0, 2.0))
    np.testing.assert_array_equal(run(bare)[0], run(written)[0])


def test_activations_are_what_an_inference_computes(network):
    known = activations(network)
    interpreter = Interpreter(model_content=network)
    details = {found["name"]: found for found in interpreter.get_tensor_details()}
    ends = interpreter.get_input_details() + interpreter.get_output_details()
    assert {end["name"] for end in ends} <= known.keys()
    constants = [tensor for tensor in whole(network).subgraphs[0].tensors if tensor.buffer]
    held = whole(network).buffers
    named = {t.name.decode() for t in constants if held[t.buffer].data is not None}
    assert not named & known.keys()
    assert all(details[name]["index"] == index for name, index in known.items())


def test_names_that_several_tensors_have_stay_apart(network):
    model = whole(network)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same"
    known = activations(packed(model))
    assert list(known) == [f"same#{index}" for index in known.values()]
    assert len(known) == len(activations(network))


def test_every_activation_can_be_an_output(network):
    known = activations(network)
    before = run(network)
    after = run(with_outputs(network, known.values()))
    assert len(after) == len(known) > len(before)
    assert any(np.array_equal(before[0], value) for value in after)


def test_the_quantizer_makes_the_same_of_them_as_of_the_calibrators(network):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    pictures = np.random.default_rng(0).normal(size=(4, *IMAGE)).astype(np.float32)
    theirs = Calibrator(network).calibrate(lambda: ([picture] for picture in pictures))
    names = {index: name for name, index in activations(network).items()}
    ours = with_ranges(network, {names[i]: ends for i, ends in ranges_in(theirs).items()})
    assert mlir_quantize(ours) == mlir_quantize(theirs)


def test_a_range_of_another_model_is_refused(network):
    with pytest.raises(ValueError, match=r"no activation tensor 'elsewhere'.*calibrate this one"):
        with_ranges(network, {"elsewhere": (0.0, 1.0)})


@pytest.mark.parametrize("ends", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_what_is_no_range_is_refused(network, ends):
    name = next(iter(activations(network)))
    with pytest.raises(ValueError, match="is no range"):
        with_ranges(network, {name: ends})


def test_a_loop_is_refused(loop):
    with pytest.raises(ValueError, match=r"subgraphs, expected 1.*loop"):
        activations(loop)


def test_another_file_is_refused():
    with pytest.raises(ValueError, match="expected a TFLite model"):
        activations(b"PK\x03\x04 is a zip")
