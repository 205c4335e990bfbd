"""Repositories that gate nothing keep their modules, options, fixtures and schedules."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny_run import ROOT, environment

from int8gate.model_zoo.spec import PROFILES
from int8gate.plugin import options

MODULES = (
    "validation.py",
    "reporting/__init__.py",
    "model_zoo/__init__.py",
    "quantizers/__init__.py",
    "runtimes/__init__.py",
)
SHORT = ("--profile", "--report", "--target", "--weights", "--baseline", "--recipe", "--trust")
CONFTEST = """
def pytest_addoption(parser):
    for name in {names}:
        parser.addoption(name, default="theirs")
"""
TELLS = """
import json, sys

def test_tells(pytestconfig):
    options = {name: str(value) for name, value in vars(pytestconfig.option).items()}
    print("told:", json.dumps({"options": options, "modules": sorted(sys.modules)}))
"""


@pytest.fixture
def stranger(tmp_path) -> Path:
    """A repository with modules called as int8gate's are, which nobody may import."""
    for name in MODULES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('imported')\n")
    (tmp_path / "test_own.py").write_text(TELLS)
    return tmp_path


def run(folder: Path, *given: str, **variables: str) -> subprocess.CompletedProcess:
    """`python -m pytest`, with the plugins that this version of int8gate declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    plugins = [*declared["pytest11"].values(), "xdist.plugin", "pytest_benchmark.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", *given]
    command += [f"-p{name}" for name in plugins]
    once = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables
    return subprocess.run(
        command, cwd=folder, env=environment() | once, capture_output=True, text=True, timeout=120
    )


def told(done: subprocess.CompletedProcess) -> dict:
    """What TELLS printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("told: ")]
    return json.loads(line.removeprefix("told: "))


def test_nothing_is_loaded_where_no_gate_is_asked_for(stranger):
    done = run(stranger)
    loaded = {name for name in told(done)["modules"] if name.partition(".")[0] == "int8gate"}
    assert loaded == {
        "int8gate",
        "int8gate.plugin",
        "int8gate.plugin.arguments",
        "int8gate.plugin.requested",
        "int8gate.plugin.options",
    }
    assert "warnings summary" not in done.stdout


def test_modules_of_the_same_names_are_not_in_the_way_of_gates(stranger):
    done = run(stranger, "--zoo=builtin", "--collect-only", "-k", "unet and tflite_int8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_accuracy[unet-tflite_int8]" in done.stdout


def test_every_option_is_named_for_int8gate_alone():
    parser = pytest.Parser(_ispytest=True)
    options.pytest_addoption(parser)
    found = parser.getgroup(options.GROUP).options
    assert len(found) > 15
    for option in found:
        assert all(name.startswith("--int8-") for name in option.names())
        assert option.dest.startswith("int8_")


def test_profiles_are_those_of_the_zoo():
    assert tuple(PROFILES) == options.PROFILES


@pytest.mark.parametrize(
    "where", [".", "tests", "deep/inside/tests"], ids=["root", "tests", "deep"]
)
def test_an_option_that_a_conftest_has_is_left_to_it(stranger, where):
    """Also one that pytest loads late, when it comes to its folder: to no such option anything
    can be given, and it must not clash.
    """
    folder = stranger / where
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conftest.py").write_text(CONFTEST.format(names=SHORT))
    (folder / "test_more.py").write_text("def test_more(pytestconfig):\n    pass\n")
    given = [] if "deep" in where else ["--report", "here", "--profile=fast", "--trust", "1"]
    found = told(run(stranger, *given))["options"]
    wanted = ("theirs",) * 3 if "deep" in where else ("here", "fast", "1")
    assert tuple(found[name] for name in ("report", "profile", "trust")) == wanted
    defaults = ("None", "compact", "False")
    assert tuple(found[f"int8_{name}"] for name in ("report", "profile", "trust")) == defaults


def test_an_option_of_a_plugin_is_left_to_it(stranger):
    (stranger / "their_plugin.py").write_text(CONFTEST.format(names=("--profile",)))
    found = told(run(stranger, "-p", "their_plugin", "--profile=svg", "--report=ours"))["options"]
    assert (found["profile"], found["int8_profile"]) == ("svg", "compact")
    assert found["int8_report"] == "ours"


@pytest.mark.parametrize("way", ["command line", "addopts", "environment", "file", "workers"])
def test_short_options_reach_int8gate_from_everywhere(stranger, way):
    line = ["--report", "somewhere", "--profile=full", "--recipe", "a", "--recipe=b", "--trust"]
    given, variables = line, {}
    if way == "addopts":
        (stranger / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(line)}\n")
    elif way == "environment":
        variables = {"PYTEST_ADDOPTS": " ".join(line)}
    elif way == "file":
        (stranger / "options.txt").write_text("\n".join(line))
        given = ["@options.txt"]
    elif way == "workers":
        given = [*line, "-n1"]
    if variables or way == "addopts":
        given = []
    found = told(run(stranger, *given, **variables))["options"]
    assert found["int8_report"] == "somewhere"
    assert found["int8_profile"] == "full"
    assert found["int8_recipe"] == "['a', 'b']"
    assert found["int8_trust"] == "True"


def test_the_folder_of_a_report_hides_no_conftest(stranger):
    """pytest reads `--report DIR` as a test path before it knows the option."""
    (stranger / "pytest.ini").write_text("[pytest]\ntestpaths = checks\n")
    (stranger / "checks").mkdir()
    (stranger / "checks" / "conftest.py").write_text(CONFTEST.format(names=("--flavour",)))
    (stranger / "test_own.py").rename(stranger / "checks" / "test_own.py")
    (stranger / "report").mkdir()
    found = told(run(stranger, "--report", "report", "--flavour=sour"))["options"]
    assert (found["int8_report"], found["flavour"]) == ("report", "sour")


def test_abbreviations_are_nobodys(stranger):
    done = run(stranger, "--int8-rep=x")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --int8-rep=x" in done.stderr


def test_help_names_the_options(stranger):
    said = " ".join(run(stranger, "--help").stdout.split())
    assert "--int8-report=DIR" in said
    assert "each option also without int8-" in said


def test_fixtures_and_schedules_are_theirs(stranger):
    """pytest-django has `settings`; `-n` alone does not keep groups together."""
    (stranger / "test_own.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture(params=['x'])\n"
        "def case_run(request):\n    return {}\n"
        "def test_a(case_run):\n    assert case_run == {}\n"
        "def test_b(pytestconfig):\n    assert 'OMP_NUM_THREADS' not in os.environ\n"
        "def test_c(request):\n"
        "    for name in ('settings', 'pipeline', 'gate', 'history'):\n"
        "        with pytest.raises(pytest.FixtureLookupError):\n"
        "            request.getfixturevalue(name)\n"
    )
    kept = {name: value for name, value in environment().items() if "NUM_THREADS" not in name}
    command = [sys.executable, "-c", "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"]
    plugins = ["-pint8gate.plugin.options", "-pxdist.plugin", "-v", "-n1"]
    done = subprocess.run(
        [*command, *plugins], cwd=stranger, capture_output=True, text=True, timeout=120,
        env=kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "scheduling tests via LoadScheduling" in done.stdout


def test_a_run_with_gates_shows_their_tables_and_no_warning_of_others(tmp_path):
    """Ten columns of pytest-benchmark are 200 characters wide; anyio's plugin warns when loaded."""
    (tmp_path / "noisy.py").write_text(
        "import warnings, pytest\n"
        "warnings.warn(pytest.PytestWarning('_pytest.python.CallSpec2 has been renamed to X'))\n"
        "warnings.warn(pytest.PytestWarning('another'))\n"
    )
    (tmp_path / "gadget.onnx").touch()
    (tmp_path / "models.toml").write_text(
        "[models.gadget]\nfile = 'gadget.onnx'\ntask = 'other'\ndata = '.'\n"
    )
    (tmp_path / "test_own.py").write_text(TELLS)
    asked = ("-p", "noisy", "--zoo=models.toml", "test_own.py", "--deselect=models.toml")
    done = run(tmp_path, *asked)
    options = told(done)["options"]
    assert options["benchmark_columns"] == "['median', 'iqr', 'rounds']"
    assert options["benchmark_sort"] == "name"
    assert "another" in done.stdout
    assert "CallSpec2" not in done.stdout
    chosen = told(run(tmp_path, *asked, "--benchmark-columns=min,max"))["options"]
    assert chosen["benchmark_columns"] == "['min', 'max']"
    assert "CallSpec2" in run(tmp_path, "-p", "noisy", "test_own.py").stdout, "nothing is gated"
