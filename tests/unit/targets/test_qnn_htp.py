"""The simulated target: what its gate says, and what it says where the extra is missing."""

from __future__ import annotations

import importlib.util

import pytest

from int8gate.runtimes import ort
from int8gate.runtimes.onnx_session import OnnxSession
from int8gate.targets.registry import check_target, find, taking
from int8gate.validation import gates
from int8gate.validation.expectations import expectations_for
from int8gate.validation.metrics.registry import metric

QNN_HTP = "qnn_htp"
EXPECTED = expectations_for("unet-onnx_int8")
COMPILED = {"target": QNN_HTP, "kind": "simulated", "npu_ops": 10, "cpu_ops": 0, "cpu_fallback": []}


def judged(**changed):
    return gates.simulated_gate(COMPILED | changed, EXPECTED, metric("top1"), "unet-onnx_int8")


def scored(simulated: float) -> dict:
    return {"metric": "top1", "simulated": simulated, "host": 0.9, "samples": 300}


def test_it_is_a_target_for_onnx_files():
    check_target(QNN_HTP)
    assert taking("onnx", (QNN_HTP, "ethos_u85_512")) == [QNN_HTP]
    assert find(QNN_HTP).kind == "simulated"
    with pytest.raises(ValueError, match="did you mean qnn_htp"):
        check_target("qnn_hpt")


def test_speed_is_never_passed_by_a_simulator():
    for entry in ({}, {"accuracy": scored(0.9)}):
        assert judged(**entry).status == "recorded"
    assert judged(unavailable="not installed").status == "not_measured", "the run must fail"
    assert judged(unavailable="not installed").message == "not installed"


def test_what_stays_on_the_cpu_fails_it():
    found = judged(npu_ops=9, cpu_ops=1, cpu_fallback=[{"op": "Resize", "name": "up"}])
    assert found.status == "failed"
    assert "9 of 10 operators" in found.message
    assert "Resize" in found.message


def test_another_score_than_the_hosts_fails_it():
    assert judged(accuracy=scored(0.5)).status == "failed"
    assert judged(accuracy=scored(0.95)).status == "recorded"


@pytest.mark.skipif(importlib.util.find_spec(ort.QNN_PACKAGE), reason="the extra is installed")
def test_without_the_extra_it_says_what_to_install(tmp_path):
    assert "int8gate[qnn]" in ort.qnn_unavailable()
    with pytest.raises(ValueError, match="Qualcomm's licence"):
        OnnxSession(tmp_path / "model.onnx", provider=ort.QNN)
