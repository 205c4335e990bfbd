"""Each gate at its limit and on both sides of it, and what a failed one tells its reader."""

from __future__ import annotations

import math
import platform
import re
from dataclasses import replace

import numpy as np
import pytest
from gate_messages import CASE, ITEMS, artifact, assert_failed

from int8gate.engine import host
from int8gate.plugin.xfails import judged
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.validation import gates
from int8gate.validation.expectations import Expectations
from int8gate.validation.fidelity import OutputFidelity
from int8gate.validation.gates import fidelity
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import NonInferiority

EXPECTED = Expectations(
    accuracy="0.99 * float",
    size_ratio=0.4,
    cpu_speedup_x86=1.0,
    npu_speedup=2.0,
    npu_coverage=0.9,
)
INT8, UINT8 = RECIPES["tflite_int8"], RECIPES["tflite_uint8"]


def test_items_are_those_of_the_zoo():
    assert {re.match(r"test_(\w+)\[", item)[1] for item in ITEMS} == set(ALL_GATES)


def outcome(verdict: str, **changed) -> NonInferiority:
    values = {"drop": 0.02, "drop_upper_95": 0.03, "tolerance": 0.01, "samples": 500}
    values |= {"sources": 200, "samples_needed": None, "reason": "the reason"} | changed
    return NonInferiority(verdict=verdict, **values)


def test_accuracy_gate():
    def judge(result, quantized=0.9, cause=None):
        rule = ("0.99 * float", metric("top1"))
        return gates.accuracy_gate(result, *rule, (0.92, quantized, 0.1), CASE, cause)

    assert judge(outcome("passed")).status == "passed"
    facts = ("top1 drops by 0.0200", "0.0300 at 95%", "500 samples of 200", "0.99 * float")
    assert_failed(judge(outcome("failed")), *facts)
    reason = "about 900 samples would settle it"
    unsure = judge(outcome("inconclusive", reason=reason, samples_needed=900))
    assert unsure.status == "inconclusive"
    assert "about 900 samples" in unsure.message
    assert "0.0300" in unsure.message
    assert "accuracy = " not in unsure.message, "900 samples are within reach of 500"
    worthless = judge(outcome("invalid", is_worthless=True))
    assert worthless == gates.GateResult("invalid", "the reason"), "no tolerance cures that"
    assert_failed(judge(outcome("failed"), cause="weights per tensor"), "weights per tensor")


@pytest.mark.parametrize("verdict", ["passed", "inconclusive", "failed"])
def test_what_is_not_better_than_the_baseline_never_passes(verdict):
    """Whatever its tolerance: bicubic enlargement needs no network."""
    psnr = metric("psnr")

    def judge(quantized):
        scores = (36.0, quantized, 34.7)
        return gates.accuracy_gate(outcome(verdict), "float - 9", psnr, scores, CASE)

    for quantized in (28.8, 34.7):
        assert_failed(judge(quantized), "bicubic", "34.7")
    assert judge(34.8).status == verdict


@pytest.mark.parametrize(
    ("least", "is_invalid"), [(None, False), (0.5, False), (0.7, False), (0.71, True)]
)
def test_reference_gate(least, is_invalid):
    found = gates.reference_gate(0.7, least, metric("top1"))
    assert (found is not None) == is_invalid
    if found:
        assert found.status == "invalid"
        assert "0.7000, expected at least 0.7100 (least_metric)" in found.message


def test_labels_gate():
    def judge(result, score=0.8, least=None):
        return gates.labels_gate(result, score, least, metric("top1"), CASE)

    assert judge(outcome("passed")).status == "passed"
    assert judge(outcome("passed"), least=0.79).status == "passed"
    assert_failed(judge(outcome("passed"), least=0.81), "0.8000", "at least 0.8100")
    constant = outcome("invalid", reason="the float model gives the same output for every sample")
    found = judge(constant)
    assert found.status == "failed"
    assert "its model gives the same output" in found.message


def compared(sqnr_db: float | None, **known) -> list[dict]:
    """The rows of one output."""
    output = OutputFidelity("scores")
    output.add(np.arange(6.0)[:, None], np.arange(6.0)[:, None])
    return [output.row() | {"sqnr_db": sqnr_db} | known]


def test_export_gate():
    limit = fidelity.EXPORT_SQNR_DB
    assert gates.export_gate(compared(limit), CASE).status == "passed"
    just_below = gates.export_gate(compared(np.nextafter(limit, 0)), CASE)
    assert_failed(just_below, "output scores: SQNR of 60.0 dB", "least 60 dB")
    assert_failed(gates.export_gate(compared(-3.123456789), CASE), "SQNR of -3.1 dB")
    assert_failed(gates.export_gate(compared(None), CASE), "no signal")
    assert_failed(gates.export_gate(compared(None, equal=0.9), CASE), "90.0% of its whole numbers")


def test_the_floor_of_fidelity_where_there_are_labels():
    limit = fidelity.FLOOR_SQNR_DB
    assert gates.floor_gate(compared(limit), CASE) is None
    assert gates.floor_gate(compared(None), CASE) is None
    assert_failed(gates.floor_gate(compared(-4.4), CASE), "SQNR of -4.4 dB", "whatever the metric")


@pytest.mark.parametrize(
    ("task", "least"), [("classification", 0.97), ("segmentation", 0.97), ("detection", 0.9)]
)
def test_answers_are_gated_by_task(task, least):
    rows = compared(40.0)

    def judge(agreement, expected=EXPECTED):
        return gates.fidelity_gate(rows, agreement, expected, task, CASE)

    assert judge(least).status == "passed"
    assert judge(None).status == "passed"
    below = judge(np.nextafter(least, 0))
    assert_failed(below, f"{least:.1%} of the answers", f"{least:.0%} of the answers")
    assert judge(0.5, replace(EXPECTED, least_agreement=0.5)).status == "passed"


def test_integer_only_gate():
    assert gates.integer_only_gate([], CASE).status == "passed"
    assert_failed(
        gates.integer_only_gate(["ELU (x, float32)"], CASE), "1 float", "ELU (x, float32)"
    )
    many = [f"ELU (x{number}, float32)" for number in range(7)]
    assert_failed(gates.integer_only_gate(many, CASE), "7 float", "x4", "and 2 more")


@pytest.mark.parametrize("ratio", [0.25, 0.4])
def test_size_gate_passes(ratio):
    assert gates.size_gate(ratio, EXPECTED, CASE).status == "passed"


@pytest.mark.parametrize("ratio", [0.4001, 1.0, 3.0])
def test_size_gate_fails(ratio):
    assert_failed(gates.size_gate(ratio, EXPECTED, CASE), "at most 0.40")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_cpu_gate_asks_for_what_this_kind_of_host_gives(machine, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    limit = {"x86_64": 1.0, "aarch64": 1.5}[machine]

    def judge(speedup):
        return gates.cpu_speed_gate(speedup, INT8, 1.5, EXPECTED, CASE)

    assert judge(limit).status == "passed"
    assert judge(9.0).status == "passed"
    assert_failed(
        judge(limit - 0.01), f"{limit - 0.01:.2f}x of float on {machine}", f"{limit:.2f}x"
    )
    assert judge(math.nan).status == "failed"


def test_a_cpu_without_integer_instructions_fails_no_model(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    def judge(speedup, has_dot_product):
        return gates.cpu_speed_gate(speedup, INT8, 1.5, EXPECTED, CASE, has_dot_product)

    result = judge(0.7, False)
    assert result.status == "recorded"
    assert "0.70x" in result.message
    assert "AVX512-VNNI" in result.message
    assert judge(1.2, False).status == "passed"
    for known in (True, None):  # a host that does not tell is judged as one that has them
        assert judge(0.7, known).status == "failed"
    declared, reason = judged(result, "no fast kernel", "the file")  # is no news of an exception
    assert (declared, reason) == ("unsupported", "no fast kernel")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu sse2 avx2 avx512_vnni", True),
        ("flags\t\t: fpu sse2 avx avx2 fma", False),
        ("Features\t: fp asimd asimddp", True),
        ("Features\t: fp asimd", False),
    ],
)
def test_a_host_tells_its_integer_instructions(line, expected, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Some CPU\n{line}\n")
    monkeypatch.setattr(host, "CPUINFO", cpuinfo)
    for each in (host._cpuinfo, host.flags, host.has_dot_product, host.cpu_name):
        monkeypatch.setattr(host, each.__name__, each.__wrapped__)
    assert host.has_dot_product() is expected
    assert host.cpu_name() == "Some CPU"


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name].gates_cpu_speed])
def test_cpu_speed_of_recipes_slow_by_nature_is_recorded(name):
    for speedup in (0.02, 1.0, 5.0):
        result = gates.cpu_speed_gate(speedup, RECIPES[name], 1.5, EXPECTED, CASE)
        assert result.status == "recorded"
        assert f"{speedup:.2f}x" in result.message


def npu_entry(npu_ops=9, cpu_ops=1, speedup=2.0, latency_ms=1.23456789) -> dict:
    return {
        "target": "ethos_u85_512",
        "kind": "modelled",
        "npu_ops": npu_ops,
        "cpu_ops": cpu_ops,
        "cpu_fallback": [{"op": "GATHER", "name": f"g{i}", "reason": None} for i in range(cpu_ops)],
        "latency_ms": latency_ms,
        "speedup": speedup,
        "system_config": "Ethos_U85_SYS_DRAM_Mid",
        "memory_mode": "Dedicated_Sram_384KB",
        "cpu_baseline": {"core": "Cortex-A55", "kind": "modelled", "best_ms": 2.46913578},
    }


def npu_gate(**changed) -> gates.GateResult:
    return gates.npu_speed_gate(npu_entry(**changed), EXPECTED, CASE)


def test_npu_gate_at_its_limits():
    assert npu_gate().status == "passed"  # coverage 0.9, speedup 2.0: both at the limit
    assert npu_gate(npu_ops=10, cpu_ops=0, speedup=50.0).status == "passed"
    facts = (
        "1.99x on ethos_u85_512",
        "1.235 ms",
        "Cortex-A55 best case 2.469 ms",
        "at least 2.00x",
    )
    assert_failed(npu_gate(speedup=1.99), *facts)
    assert_failed(npu_gate(npu_ops=89, cpu_ops=11), "89 of 100 operators", "GATHER", "90%")


@pytest.mark.parametrize("speedup", [None, 0.5, 2.0, 1e9])
@pytest.mark.parametrize("cpu_ops", [0, 12])
def test_npu_gate_without_coverage_fails_whatever_the_speed(speedup, cpu_ops):
    """Vela calls a model that stays on the CPU 0 ms."""
    result = npu_gate(npu_ops=0, cpu_ops=cpu_ops, speedup=speedup, latency_ms=None)
    assert_failed(result, f"0 of {cpu_ops} operators", "Ethos_U85_SYS_DRAM_Mid")


def test_npu_gate_without_a_speedup_fails():
    assert_failed(npu_gate(npu_ops=10, cpu_ops=0, speedup=None, latency_ms=None), "no speedup on")
    assert npu_gate(npu_ops=10, cpu_ops=0, speedup=math.nan).status == "failed"


def test_raw_pixels_gate():
    def judge(raw):
        return gates.raw_pixels_gate(raw, 0.8, EXPECTED, metric("top1"), CASE)

    limit = 0.99 * 0.8
    assert judge(limit).status == "passed"
    assert_failed(judge(np.nextafter(limit, 0)), "0.8000 on preprocessed ones")


class Session:
    """Takes what it declares, or casts silently: the two ways of runtimes."""

    def __init__(self, refuses: bool):
        self.inputs, self.refuses = artifact().inputs, refuses

    def run(self, batch):
        if self.refuses and batch[0].dtype != np.int8:
            raise TypeError(batch[0].dtype)


def test_float_batch_must_be_refused():
    assert gates.float_refused_gate(Session(refuses=True), CASE).status == "passed"
    assert_failed(
        gates.float_refused_gate(Session(refuses=False), CASE), "float32 batch was accepted"
    )


def test_what_did_not_pass_names_its_worst_layers_and_what_looks_for_a_remedy():
    rows = [
        {"operator": "Conv", "name": f"conv_{n}", "tensor": "t", "fall_db": 20.0 - n}
        for n in range(5)
    ]
    command = "pytest --int8-case a-b -m accuracy --int8-rescue"
    told = gates.with_way_out(gates.failed("a", "b", "c", "pytest"), rows, command).message
    assert (
        "worst layers: Conv (conv_0, 20 dB), Conv (conv_1, 19 dB), Conv (conv_2, 18 dB)\n" in told
    )
    assert "conv_3" not in told
    assert told.endswith(f"rescue: {command}")
    untraced = gates.with_way_out(gates.GateResult("inconclusive", "few"), [], command)
    assert untraced.message == f"few\nrescue: {command}"
    for status in ("passed", "invalid", "not_measured"):
        assert gates.with_way_out(gates.GateResult(status), rows, command).message == ""
