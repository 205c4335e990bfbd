"""int8gate as users have it: a wheel, in a repository that has modules of the same names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import team_repository
from tiny_run import ROOMS, ROOT, cases, environment

LARGEST_WHEEL = 2_000_000  # bytes
THEIRS = ("validation", "reporting", "model_zoo", "quantizers", "runtimes", "calibration_data")
OWN_TEST = f"""
import importlib
from pathlib import Path

def test_own_modules():
    for name in {THEIRS}:
        module = importlib.import_module(name)
        assert module.WHOSE == "theirs"
        assert Path(module.__file__).is_relative_to(Path(__file__).parent)

def test_int8gate_is_the_installed_one():
    import int8gate.model_zoo
    assert "env" in Path(int8gate.model_zoo.__file__).parts
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy of what a clone has, for the build writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    ignored = shutil.ignore_patterns("__pycache__")
    for room in ROOMS.values():
        shutil.copytree(room, copy / room.relative_to(ROOT), ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, copy)
    (built,) = folder.glob("*.whl")
    return built


def pip(command: str, *arguments, python: Path | None = None) -> None:
    place = ["--python", python] if python else []
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    called = [sys.executable, "-m", "pip", *place, command, *offline, *arguments]
    done = subprocess.run(called, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory) -> Path:
    """That of a fresh environment with the wheel, which takes everything else from this one's."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    pip("install", wheel, python=python)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "shared.pth").write_text("\n".join(shared))
    return python


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    folder = team_repository.write(tmp_path_factory.mktemp("team"))
    for name in THEIRS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text('WHOSE = "theirs"\n')
    (folder / "validation/__init__.py").unlink()
    (folder / "validation").rmdir()
    (folder / "validation.py").write_text('WHOSE = "theirs"\n')
    (folder / "test_own.py").write_text(OWN_TEST)
    return folder


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )


def test_the_wheel_is_small(wheel: Path):
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_own_tests_and_gates_run_side_by_side(python: Path, team: Path):
    done = run(
        python, team, "-rA", "--zoo=models.toml", "--artifact-cache=cache", "--report=report"
    )
    said = done.stdout + done.stderr
    assert "PASSED test_own.py::test_own_modules" in said, said
    assert "PASSED test_own.py::test_int8gate_is_the_installed_one" in said, said
    assert cases(team / "report")["gadget-onnx_int8"]["verdict"] == "passed", said
    assert done.returncode == 0


def test_the_zoo_without_its_weights_says_what_to_install(python: Path, team: Path):
    done = run(python, team, "--zoo=builtin", "-k", "unet and tflite_int8")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = done.stdout + done.stderr
    assert said.count("pip install int8gate-zoo-weights") == 1
    assert "Traceback" not in said


def test_the_weights_are_found_where_their_distribution_is_installed(python: Path, tmp_path: Path):
    (tmp_path / "int8gate_zoo_weights").mkdir()
    (tmp_path / "int8gate_zoo_weights/manifest.json").write_text('{"unet": {}}')
    code = "from int8gate.model_zoo import weights; print(weights.SHIPPED, weights.not_installed())"
    done = subprocess.run(
        [python, "-c", code],
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(tmp_path / "int8gate_zoo_weights"), "None"], done.stderr
