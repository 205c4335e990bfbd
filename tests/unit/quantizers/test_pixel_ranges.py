"""Which calibrated ranges are those of a picture, and that nothing else of a model changes."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import example, given
from hypothesis import strategies as st

from int8gate.quantizers.toolchains.tflite.ranges import MARGIN, OVERSHOOT, SAME, snapped_to_pixels

RANGES = st.lists(
    st.one_of(st.none(), st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))),
    max_size=6,
)


def calibrated(ranges) -> bytes:
    """A model with a tensor for each range; None is one that calibration did not see."""
    tensors = []
    for number, found in enumerate(ranges):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"tensor{number}".encode(), [1, number + 1]
        if found is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.min, tensor.quantization.max = [found[0]], [found[1]]
        tensors.append(tensor)
    graph = schema.SubGraphT()
    graph.tensors = tensors
    model = schema.ModelT()
    model.subgraphs, model.version = [graph], 3
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def read(content: bytes) -> list:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    return [
        (tensor.name, list(tensor.shape), _range(tensor.quantization))
        for tensor in model.subgraphs[0].tensors or []
    ]


def _range(found) -> tuple | None:
    return (
        None if found is None or found.min is None else (float(found.min[0]), float(found.max[0]))
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)], ids=["unit", "signed"])
@given(ranges=RANGES)
@example(ranges=[(0.0, 1.0), (0.0625, 0.92), (-0.01, 1.015), (0.0, 1.25), (0.2, 1.0), None])
def test_only_nearly_the_range_of_pixels_becomes_it(low, high, ranges):
    before = read(calibrated(ranges))
    content, snapped = snapped_to_pixels(calibrated(ranges), low, high)
    after = read(content)
    assert [entry[:2] for entry in before] == [entry[:2] for entry in after]
    span = high - low
    for (_, _, was), (_, _, now) in zip(before, after, strict=True):
        if was is None:
            assert now is None
            continue
        ends = ((was[0] - low) / span, (high - was[1]) / span)
        near = all(-OVERSHOOT <= end <= MARGIN for end in ends)
        assert now == ((low, high) if near else was)
    changed = [
        name.decode()
        for (name, _, was), (_, _, now) in zip(before, after, strict=True)
        if was is not None and np.abs(np.subtract(was, now)).max() > SAME * span
    ]
    assert snapped == changed


def test_snapping_twice_is_snapping_once():
    once, snapped = snapped_to_pixels(calibrated([(0.06, 0.93), (-3, 3)]), 0.0, 1.0)
    assert snapped == ["tensor0"]
    assert snapped_to_pixels(once, 0.0, 1.0) == (once, [])


@pytest.mark.parametrize(
    ("shapes", "snapped"),
    [
        ([(1, 8, 6, 1), (1, 16, 12, 1)], ["tensor0", "tensor1"]),
        ([(1, 8, 6, 1), (1, 8, 6, 1)], ["tensor0"]),  # it may be a map of anything
        ([(1, 8, 6, 1), (1, 16, 12, 3)], ["tensor0"]),
        ([(1, 48), (1, 96)], []),
    ],
)
def test_the_input_and_what_enlarges_it_are_pictures(shapes, snapped):
    """Calibration saw dark pictures, and the network's answers overshoot at edges."""
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(bytearray(calibrated([(0.0, 0.7), (-0.2, 1.2)])), 0)
    )
    graph = model.subgraphs[0]
    for tensor, shape in zip(graph.tensors, shapes, strict=True):
        tensor.shape = list(shape)
    graph.inputs, graph.outputs = [0], [1]
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    after, found = snapped_to_pixels(bytes(builder.Output()), 0.0, 1.0)
    assert found == snapped
    assert [was == (0.0, 1.0) for _, _, was in read(after)] == [
        name in snapped for name in ("tensor0", "tensor1")
    ]
