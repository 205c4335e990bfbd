"""`runtimes.tflite_graph` against real TFLite files, LiteRT's own reader, and damaged files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import write_all

from int8gate.runtimes.tflite_graph import Graph, opened, read_graph, written
from int8gate.runtimes.tflite_integers import FloatOperator, float_operators, integer_fraction

ROOT = Path(__file__).parents[3]
CONV_MACS = (16 * 16 * 8) * (3 * 3 * 3)
NETWORK_MACS = [CONV_MACS, (16 * 16 * 8) * (3 * 3), 0, 8 * 10]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("models"))


def opcodes(graph: Graph) -> list[str]:
    return [operator.opcode for operator in graph.operators]


def graph_or_refusal(path: Path) -> Graph | None:
    """The graph, or None for a ValueError that names the file; anything else is a failure."""
    try:
        return read_graph(path)
    except ValueError as error:
        if str(path) not in str(error):
            raise
        return None


def test_reads_the_operators_of_an_int8_network(models):
    graph = read_graph(models["int8"])
    assert opcodes(graph) == ["CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert [operator.index for operator in graph.operators] == [0, 1, 2, 3]
    assert {operator.dtype for operator in graph.operators} == {"int8"}
    assert (graph.inputs[0].shape, graph.inputs[0].dtype) == ((1, 32, 32, 3), "int8")
    assert (graph.outputs[0].shape, graph.outputs[0].dtype) == ((1, 10), "int8")


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("int8", NETWORK_MACS),
        ("fp32", NETWORK_MACS),
        ("transposed", [CONV_MACS, (16 * 16 * 8) * (2 * 2 * 8)]),
        ("attention", [16 * 16 * 8, 0, 16 * 8 * 16]),
        ("gram", [8 * 8 * 16]),
    ],
)
def test_macs_are_those_of_the_shapes(models, name, macs):
    graph = read_graph(models[name])
    assert [operator.macs for operator in graph.operators] == macs
    assert graph.macs == sum(macs)


def test_bytes_are_inputs_weights_and_outputs(models):
    conv = read_graph(models["int8"]).operators[0]
    weights = 8 * 3 * 3 * 3 + 8 * 4  # int8 kernel, int32 bias
    assert conv.constant_bytes == weights
    assert conv.bytes_moved == 32 * 32 * 3 + weights + 16 * 16 * 8


def test_a_gather_is_not_charged_for_its_table(models):
    gather = read_graph(models["partial"]).operators[1]
    assert gather.opcode == "GATHER"
    assert gather.constant_bytes == 0


@pytest.mark.parametrize("name", ["int8", "fp32", "fp16", "elu", "attention"])
def test_tensors_agree_with_litert(models, name):
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(models[name])).get_tensor_details()
    read = [(t.name, t.shape, t.dtype) for t in read_graph(models[name]).tensors]
    expected = {d["index"]: (d["name"], tuple(d["shape"]), d["dtype"].__name__) for d in details}
    assert read == [expected[index] for index in range(len(read))]  # LiteRT adds scratch behind


def with_weights_behind(model: bytes, least: int) -> bytes:
    """The file with buffers of so many bytes or more behind its flatbuffer, as AI Edge Quantizer
    writes large ones.
    """
    whole, moved, behind = opened(model), [], b""
    for buffer in whole.buffers:
        if buffer.data is not None and len(buffer.data) >= least:
            moved.append((buffer, len(behind)))
            behind += np.asarray(buffer.data, np.uint8).tobytes()
            behind += bytes(-len(behind) % 16)
            buffer.offset, buffer.size, buffer.data = 2**20, len(buffer.data), None
    start = -(-len(written(whole)) // 16) * 16
    for buffer, place in moved:
        buffer.offset = start + place
    assert moved
    return written(whole).ljust(start, b"\0") + behind


def outputs_of(model: bytes) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    session = Interpreter(model_content=model)
    session.allocate_tensors()
    for detail in session.get_input_details():
        values = np.random.default_rng(0).normal(0, 30, detail["shape"])
        session.set_tensor(detail["index"], values.astype(detail["dtype"]))
    session.invoke()
    return [session.get_tensor(detail["index"]) for detail in session.get_output_details()]


@pytest.mark.parametrize(
    ("name", "least"), [("int8", 1), ("int8", 100), ("fp32", 1), ("fp32", 100), ("attention", 1)]
)
def test_weights_behind_the_flatbuffer_come_into_it(models, name, least):
    model = models[name].read_bytes()
    behind = with_weights_behind(model, least)
    changed = opened(behind)
    changed.description = b"moves all that follows" * 100
    for found in (behind, written(changed)):
        np.testing.assert_equal(outputs_of(found), outputs_of(model))
    with pytest.raises(ValueError, match="weights end at byte"):
        opened(behind[:-16])


def test_a_full_integer_model_has_no_float_operator(models):
    graph = read_graph(models["int8"])
    assert float_operators(graph) == []
    assert integer_fraction(graph) == 1.0


def test_finds_the_elu_that_stayed_float_between_integer_borders(models):
    graph = read_graph(models["elu"])
    assert {tensor.dtype for tensor in graph.inputs + graph.outputs} == {"int8"}
    found = float_operators(graph)
    assert [operator.op for operator in found] == ["DEQUANTIZE", "ELU", "QUANTIZE"]
    assert FloatOperator("ELU", "Elu", "float32") in found
    assert integer_fraction(graph) == pytest.approx(4 / 7)


def test_quantize_at_a_float_border_counts(models):
    found = float_operators(read_graph(models["float_io"]))
    assert [operator.op for operator in found] == ["QUANTIZE", "DEQUANTIZE"]


@pytest.mark.parametrize("name", ["fp32", "fp16", "dynamic"])
def test_float_computation_counts_whatever_the_weights(models, name):
    assert integer_fraction(read_graph(models[name])) == 0.0


def test_operators_in_the_body_of_a_loop_are_listed(models):
    graph = read_graph(models["loop"])
    assert "WHILE" in opcodes(graph)
    assert {operator.subgraph for operator in graph.operators} == {0, 1, 2}


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04 a keras file, not a flatbuffer"])
def test_refuses_what_is_no_tflite_file(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.tflite: expected a TFLite model"):
        read_graph(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_graph(tmp_path / "none.tflite")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(kept=st.floats(0, 0.999))
def test_a_truncated_file_is_refused_or_lost_nothing_that_is_read(models, tmp_path, kept):
    whole = models["int8"].read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: int(len(whole) * kept)])
    graph = graph_or_refusal(path)
    assert graph is None or graph.operators == read_graph(models["int8"]).operators


def test_a_file_cut_in_half_is_refused(models, tmp_path):
    whole = models["int8"].read_bytes()
    path = tmp_path / "half.tflite"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.tflite: expected a complete TFLite model"):
        read_graph(path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(damage=st.dictionaries(st.floats(0, 0.9999), st.integers(0, 255), min_size=1, max_size=8))
def test_a_damaged_file_gives_a_graph_or_a_value_error(models, tmp_path, damage):
    content = bytearray(models["elu"].read_bytes())
    for where, value in damage.items():
        content[int(len(content) * where)] = value
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    graph = graph_or_refusal(path)
    assert graph is None or isinstance(graph, Graph)


def test_importing_the_room_loads_no_framework():
    code = (
        "import sys; from int8gate.runtimes import tflite_graph\n"
        "from int8gate.targets import ethos_u, arm_cpu\n"
        "heavy = {'tensorflow', 'ai_edge_litert', 'ethosu', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
