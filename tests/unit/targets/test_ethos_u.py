"""`targets.ethos_u` with the real Vela compiler on tiny real models."""

from __future__ import annotations

import configparser
import shutil
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_models import write_all

from int8gate.runtimes.tflite_graph import read_graph
from int8gate.targets import ethos_u
from int8gate.targets.ethos_u import TARGETS, VelaError, estimate, find_target

U85 = "ethos_u85_512"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("target", TARGETS)
def test_an_int8_network_runs_wholly_on_every_target(models, tmp_path, target):
    found = estimate(models["int8"], target, tmp_path)
    assert (found.target, found.kind) == (target, "modelled")
    assert (found.npu_ops, found.cpu_ops, found.cpu_fallback) == (4, 0, ())
    assert found.cycles > 0
    assert found.latency_ms == pytest.approx(found.cycles / (found.clock_mhz * 1e3))
    assert found.sram_bytes > 16 * 16 * 8  # one feature map at least
    assert found.flash_bytes + found.dram_bytes > 0
    assert found.compiler == f"vela {version('ethos-u-vela')}"
    kept = [operator.opcode for operator in read_graph(found.compiled_path).operators]
    assert kept == [ethos_u.NPU_OPCODE]
    assert list(tmp_path.iterdir()) == [found.compiled_path]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_clock_is_that_of_velas_configuration(models, tmp_path, target):
    packages = find_spec("ethosu").submodule_search_locations
    ini = configparser.ConfigParser()
    assert ini.read(Path(packages[0]) / "config_files" / ethos_u.CONFIG_FILE)
    clock_hz = float(ini[f"System_Config.{target.system_config}"]["core_clock"])
    found = estimate(models["int8"], target.name, tmp_path)
    assert found.clock_mhz == clock_hz / 1e6
    assert (found.system_config, found.memory_mode) == (target.system_config, target.memory_mode)


@pytest.mark.parametrize(("name", "operators"), [("fp32", 4), ("fp16", 8), ("dynamic", 1)])
def test_a_model_that_stays_on_the_cpu_has_no_latency(models, tmp_path, name, operators):
    found = estimate(models[name], U85, tmp_path)
    assert (found.npu_ops, found.cpu_ops) == (0, operators)
    assert (found.latency_ms, found.cycles) == (None, None)
    assert "Float32" in found.cpu_fallback[-1]["reason"]


def test_an_elu_falls_back_with_its_conversions(models, tmp_path):
    found = estimate(models["elu"], U85, tmp_path)
    assert (found.npu_ops, found.cpu_ops) == (4, 3)
    assert found.latency_ms > 0
    left = {(entry["op"], entry["name"]) for entry in found.cpu_fallback}
    assert left == {
        ("DEQUANTIZE", "tfl.dequantize"),
        ("ELU", "Elu"),
        ("QUANTIZE", "tfl.quantize"),
    }
    reasons = {entry["op"]: entry["reason"] for entry in found.cpu_fallback}
    assert "unsupported DataType Float32 (tfl.dequantize)" in reasons["ELU"]
    assert "Unsupported opType" in reasons["DEQUANTIZE"]


def test_fallback_operators_carry_what_a_cpu_model_needs(models, tmp_path):
    found = estimate(models["elu"], U85, tmp_path)
    elu = next(operator for operator in found.fallback_operators if operator.opcode == "ELU")
    assert elu.bytes_moved == 2 * (16 * 16 * 8) * 4
    assert elu.dtype == "float32"


def test_float_borders_leave_two_operators_on_the_cpu(models, tmp_path):
    found = estimate(models["float_io"], U85, tmp_path)
    assert [entry["op"] for entry in found.cpu_fallback] == ["QUANTIZE", "DEQUANTIZE"]


def test_an_integer_operator_falls_back_too(models, tmp_path):
    found = estimate(models["partial"], U85, tmp_path)
    assert (found.npu_ops, found.cpu_ops) == (1, 1)
    assert found.cpu_fallback[0]["op"] == "GATHER"
    assert "axis" in found.cpu_fallback[0]["reason"]


def test_the_same_model_gives_the_same_estimate_and_file(models, tmp_path):
    first = estimate(models["int8"], U85, tmp_path / "a")
    second = estimate(models["int8"], U85, tmp_path / "b")
    assert first.compiled_path.read_bytes() == second.compiled_path.read_bytes()
    assert replace(first, compiled_path=second.compiled_path) == second


@pytest.mark.parametrize("name", ["a b;$(touch pwned)'\"é.v2.tflite", "--help.tflite"])
def test_a_models_name_is_never_interpreted(models, tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    artifact = Path(shutil.copy(models["int8"], tmp_path / "in" / name))
    monkeypatch.chdir(artifact.parent)
    found = estimate(name, U85, tmp_path / "out")
    assert found.npu_ops == 4
    assert found.compiled_path.name == f"{artifact.stem}_{U85}_vela.tflite"
    assert [path.name for path in artifact.parent.iterdir()] == [name]


def test_a_timeout_is_a_clear_error_and_leaves_nothing(models, tmp_path):
    with pytest.raises(VelaError, match=r"int8\.tflite for ethos_u85_512 gave no .* 0\.05 s"):
        estimate(models["int8"], U85, tmp_path, timeout_s=0.05)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_carries_velas_last_words(models, tmp_path):
    with pytest.raises(VelaError, match=r"exited with 1; last words: .*ARGMAX.*Semantics"):
        estimate(models["argmax_float"], U85, tmp_path)


def test_a_crash_of_vela_names_the_signal(models, tmp_path):
    """A truncated file, past our own check, ends Vela 5.2.0 by a segmentation fault."""
    cut = tmp_path / "cut.tflite"
    whole = models["int8"].read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(VelaError, match=r"crashed with SIG|exited with 1"):
        ethos_u._run_vela(cut, TARGETS[U85], tmp_path, timeout_s=60)


def test_a_damaged_file_never_reaches_vela(models, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(models["int8"].read_bytes()[:900])
    with pytest.raises(ValueError, match="truncated or damaged"):
        estimate(cut, U85, tmp_path)


def test_a_loop_is_refused_because_its_turns_are_unknown(models, tmp_path):
    with pytest.raises(ValueError, match="expected one subgraph, found control flow"):
        estimate(models["loop"], U85, tmp_path)


def test_an_unknown_target_names_the_known_ones():
    with pytest.raises(ValueError, match=r"ethos_u55_128.*did you mean ethos_u85_512\?"):
        find_target("ethos-u85-512")
    with pytest.raises(ValueError, match="expected one of") as caught:
        find_target("tpu")
    assert "did you mean" not in str(caught.value)
