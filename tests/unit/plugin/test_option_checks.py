"""A wrong value of an option is one usage error; `--zoo` asks for its models alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.plugin.options import check_options

CHECKOUT = Path(__file__).parents[3]
DEFAULTS = {
    "stage_timeout": 900.0,
    "rescue_budget": 600.0,
    "train_budget": 180.0,
    "memory_limit": None,
    "calibration_jobs": 1,
    "min_calibration_samples": 100,
    "data_dir": None,
    "weights_dir": None,
    "report": None,
}


def config(folder: Path = CHECKOUT, **changed) -> SimpleNamespace:
    options = {f"int8_{name}": value for name, value in (DEFAULTS | changed).items()}
    return SimpleNamespace(
        getoption=options.__getitem__, invocation_params=SimpleNamespace(dir=folder)
    )


def test_the_defaults_and_honest_values_pass(tmp_path):
    check_options(config())
    check_options(config(memory_limit=3.5, data_dir=tmp_path, report=tmp_path / "new"))


LIMITS = ["stage_timeout", "memory_limit", "rescue_budget", "train_budget"]


@given(st.sampled_from(LIMITS), st.floats(max_value=0))
def test_a_limit_is_above_zero(name, value):
    with pytest.raises(ValueError, match=f"--int8-{name.replace('_', '-')}="):
        check_options(config(**{name: value}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_limit_is_a_number(value):
    with pytest.raises(ValueError, match="expected a number above 0"):
        check_options(config(stage_timeout=value))


@pytest.mark.parametrize("name", ["calibration_jobs", "min_calibration_samples"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_is_one_or_more(name, value):
    with pytest.raises(ValueError, match="1 or more"):
        check_options(config(**{name: value}))


@pytest.mark.parametrize("name", ["data_dir", "weights_dir"])
def test_a_folder_is_there(name, tmp_path):
    with pytest.raises(ValueError, match="no such directory"):
        check_options(config(**{name: tmp_path / "gone"}))


def collect(*args: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *args]
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=plain)


def test_a_usage_error_is_told_once():
    done = collect("--stage-timeout=nan", cwd=CHECKOUT)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.count("--int8-stage-timeout=nan") == 1


@pytest.fixture
def declared(tmp_path) -> Path:
    (tmp_path / "gadget.onnx").touch()
    file = tmp_path / "models.toml"
    file.write_text('[models.gadget]\nfile = "gadget.onnx"\ntask = "other"\n')
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    return file


def test_in_the_checkout_zoo_asks_for_its_models_alone(declared):
    """With a space pytest takes the file for a test path, and the settings of its folder."""
    done = collect("--zoo", str(declared), cwd=CHECKOUT)
    gates = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(gates) > 4
    assert all("gadget" in line for line in gates)


def test_elsewhere_the_gates_stand_beside_the_tests_of_the_repository(declared):
    done = collect("--zoo=models.toml", cwd=declared.parent)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    assert sum("gadget" in line for line in tests) == len(tests) - 1 > 4
    assert "test_own.py::test_own" in tests
