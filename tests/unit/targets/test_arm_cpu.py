"""Laws of the CPU model in `targets.arm_cpu`, and its charge for operators that fall back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import write_all

from int8gate.runtimes.tflite_graph import Graph, Operator, Tensor, read_graph
from int8gate.targets import arm_cpu
from int8gate.targets.arm_cpu import (
    CORES,
    best_ms,
    estimate,
    npu_speedup,
    operator_ms,
    with_measured_baseline,
)
from int8gate.targets.ethos_u import NpuEstimate
from int8gate.targets.ethos_u import estimate as estimate_npu

A55, A76 = CORES["Cortex-A55"], CORES["Cortex-A76"]
RECORD_KEYS = {"target", "kind", "latency_ms", "npu_ops", "cpu_ops", "cpu_fallback", "cpu_baseline"}
RECORD_KEYS |= {"speedup", "fallback_ms", "system_config", "memory_mode", "clock_mhz", "compiler"}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def npu(models, tmp_path_factory) -> dict[str, NpuEstimate]:
    work = tmp_path_factory.mktemp("vela")
    names = ("int8", "elu", "fp32")
    return {name: estimate_npu(models[name], "ethos_u85_512", work) for name in names}


def make(macs: int = 0, moved: int = 0, constant: int = 0, dtype: str = "int8") -> Operator:
    tensor = Tensor("t", (16,), dtype, is_constant=False)
    opcode = "CONV_2D" if macs else "ADD"
    ends = (tensor, tensor), (tensor,)
    return Operator(0, opcode, *ends, macs, moved + constant, constant, dtype)


operators = st.builds(
    make,
    macs=st.integers(0, 10**10),
    moved=st.integers(0, 10**9),
    constant=st.integers(0, 10**9),
    dtype=st.sampled_from(["int8", "uint8", "int16", "float32"]),
)
cores = st.sampled_from(list(CORES.values()))


@given(operator=operators, core=cores, cached=st.booleans())
def test_best_is_never_slower_than_typical(operator, core, cached):
    assert 0 <= best_ms(operator, core, cached) <= operator_ms(operator, core.name)


@given(operator=operators, core=cores, more=st.integers(0, 10**9))
def test_time_never_falls_with_more_work(operator, core, more):
    computes = replace(operator, macs=operator.macs + more if operator.macs else 0)
    reads = replace(operator, bytes_moved=operator.bytes_moved + more)
    weighs = replace(reads, constant_bytes=operator.constant_bytes + more)
    for heavier in (computes, reads, weighs):
        assert best_ms(heavier, core) >= best_ms(operator, core)
        assert operator_ms(heavier, core.name) >= operator_ms(operator, core.name)


@given(operator=operators)
def test_the_larger_core_is_never_slower(operator):
    assert best_ms(operator, A76) <= best_ms(operator, A55)
    assert operator_ms(operator, A76.name) <= operator_ms(operator, A55.name)


@given(operator=operators, core=cores)
def test_cached_weights_are_never_slower(operator, core):
    assert best_ms(operator, core, True) <= best_ms(operator, core, False)


@given(macs=st.integers(10**3, 10**10))
def test_a_compute_bound_operator_runs_at_the_peak_of_its_type(macs):
    assert best_ms(make(macs), A55) == pytest.approx(macs / (16 * 1.8e9) * 1e3)
    assert best_ms(make(macs), A76) == pytest.approx(macs / (32 * 2.4e9) * 1e3)
    assert best_ms(make(macs, dtype="float32"), A55) == pytest.approx(4 * best_ms(make(macs), A55))
    assert best_ms(make(macs, dtype="float32"), A76) == pytest.approx(4 * best_ms(make(macs), A76))


def test_a_memory_bound_operator_runs_at_the_bandwidth():
    streamed = best_ms(make(moved=0, constant=256 * 10**6), A55)
    assert streamed == pytest.approx(10.0)  # 256 MB at 25.6 GB/s
    assert best_ms(make(moved=432 * 10**6), A55) == pytest.approx(10.0)  # at 24 B * 1.8 GHz


def test_typical_meets_the_measurement_that_it_is_anchored_to():
    assert operator_ms(make(300 * 10**6), "Cortex-A55") == pytest.approx(37.21)
    assert 1.3 / 16 < arm_cpu.END_TO_END_EFFICIENCY < 1


def test_a_view_is_free_at_best_and_charged_typically():
    view = replace(make(moved=10**6), opcode="RESHAPE")
    assert best_ms(view, A55) == 0
    assert operator_ms(view, "Cortex-A55") > 0


def test_weights_that_are_converted_at_load_are_free(models):
    graph = read_graph(models["fp16"])
    converted = [operator for operator in graph.operators if operator.opcode == "DEQUANTIZE"]
    assert len(converted) == 4
    assert sum(operator_ms(operator, "Cortex-A55") for operator in converted) == 0


@pytest.mark.parametrize("core", CORES)
def test_a_models_time_is_the_sum_of_its_operators(models, core):
    graph = read_graph(models["elu"])
    whole = estimate(graph, core)
    halves = [
        estimate(replace(graph, operators=part), core)
        for part in (graph.operators[:3], graph.operators[3:])
    ]
    assert whole.best_ms == pytest.approx(sum(half.best_ms for half in halves))
    assert whole.typical_ms == pytest.approx(sum(half.typical_ms for half in halves))
    assert 0 < whole.best_ms < whole.typical_ms
    assert (whole.core, whole.kind, whole.macs) == (core, "modelled", graph.macs)


def test_int8_is_faster_than_fp32(models):
    times = {name: estimate(read_graph(models[name]), "Cortex-A55") for name in ("int8", "fp32")}
    assert times["int8"].best_ms < times["fp32"].best_ms
    assert times["int8"].typical_ms < times["fp32"].typical_ms


def test_an_unknown_core_names_the_known_ones():
    with pytest.raises(ValueError, match="Cortex-M4 is unknown: expected one of Cortex-A55"):
        estimate(Graph(Path("x"), (), (), (), ()), "Cortex-M4")


def test_the_record_of_a_model_wholly_on_the_npu(models, npu):
    graph = read_graph(models["int8"])
    entry = npu_speedup(npu["int8"], graph, "Cortex-A55")
    assert set(entry) == RECORD_KEYS
    assert json.loads(json.dumps(entry)) == entry
    cpu = estimate(graph, "Cortex-A55")
    assert entry["cpu_baseline"] == {
        "core": "Cortex-A55",
        "kind": "modelled",
        "best_ms": cpu.best_ms,
        "typical_ms": cpu.typical_ms,
    }
    assert (entry["latency_ms"], entry["fallback_ms"]) == (npu["int8"].latency_ms, 0)
    assert entry["speedup"] == pytest.approx(cpu.best_ms / npu["int8"].latency_ms)


def test_fallback_is_charged_at_the_typical_speed(models, npu):
    graph = read_graph(models["elu"])
    entry = npu_speedup(npu["elu"], graph, "Cortex-A55")
    charged = [operator for operator in graph.operators if operator.index in (1, 2, 3)]
    expected = sum(operator_ms(operator, "Cortex-A55") for operator in charged)
    assert entry["fallback_ms"] == pytest.approx(expected)
    assert entry["fallback_ms"] > 0
    assert entry["latency_ms"] == pytest.approx(npu["elu"].latency_ms + expected)
    assert [fallen["op"] for fallen in entry["cpu_fallback"]] == ["DEQUANTIZE", "ELU", "QUANTIZE"]


def test_a_model_wholly_on_the_cpu_has_no_speedup(models, npu):
    entry = npu_speedup(npu["fp32"], read_graph(models["fp32"]), "Cortex-A76")
    assert (entry["npu_ops"], entry["latency_ms"], entry["speedup"]) == (0, None, None)
    assert entry["cpu_baseline"]["best_ms"] > 0


def test_a_measured_baseline_takes_the_models_place(models, npu):
    graph = read_graph(models["int8"])
    modelled = npu_speedup(npu["int8"], graph, "Cortex-A55")
    entry = with_measured_baseline(modelled, "aarch64", 2.5)
    assert entry["cpu_baseline"] == {
        "core": "host aarch64",
        "kind": "measured",
        "best_ms": 2.5,
        "typical_ms": 2.5,
    }
    assert entry["speedup"] == pytest.approx(2.5 / npu["int8"].latency_ms)


def test_a_measured_baseline_gives_no_speedup_to_a_model_wholly_on_the_cpu(models, npu):
    modelled = npu_speedup(npu["fp32"], read_graph(models["fp32"]), "Cortex-A55")
    assert with_measured_baseline(modelled, "aarch64", 2.5)["speedup"] is None


def test_int16_activations_get_no_dot_product():
    """SMLAL adds into four 32-bit lanes of a register, as FP32 does; SDOT takes 8 bits."""
    times = {
        kind: best_ms(macs_only(kind), CORES["Cortex-A55"]) for kind in ("int8", "int16", "float32")
    }
    assert times["int16"] == pytest.approx(4 * times["int8"])
    assert times["int16"] == pytest.approx(times["float32"])


def macs_only(kind: str) -> Operator:
    """A convolution of a million MAC that moves next to nothing; int16 has int8 weights."""
    weights = Tensor("w", (1,), "float32" if kind == "float32" else "int8", True)
    ends = ((Tensor("x", (1,), kind, False), weights), (Tensor("y", (1,), kind, False),))
    return Operator(0, "CONV_2D", *ends, 10**6, 3, 1, kind)
