"""A rerun does what is not done: `--last-failed`, a fix, the command that a failure names."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from faults_project import Repository
from tiny_run import ended, environment

GATES = {"accuracy", "io_dtype", "integer_only", "size", "cpu_speedup"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """A repository whose first model is damaged, with a test of the team's own that fails."""
    repository = Repository.write(tmp_path_factory.mktemp("team"), 2)
    (repository / "test_own.py").write_text("def test_own():\n    assert False\n")
    return repository


def gates_of(name: str) -> set[str]:
    return {f"models.toml::test_{gate}[{name}-onnx_int8]" for gate in GATES}


def test_last_failed_after_a_fix_does_what_failed(repository):
    broken = repository / "gadget0.onnx"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    first = repository.run()
    assert set(first.ended("FAILED")) == {*gates_of("gadget0"), "test_own.py::test_own"}
    assert set(first.ended("PASSED")) == gates_of("gadget1")
    broken.write_bytes(whole)
    fixed = repository.run("--last-failed")
    assert set(fixed.ended("PASSED")) == gates_of("gadget0"), fixed.stdout
    assert fixed.ended("FAILED") == ["test_own.py::test_own"]
    assert {case for case, _, _ in fixed.began()} == {"gadget0-onnx_int8"}
    last = repository.run("--last-failed", "--collect-only", "-q")
    assert "test_own.py::test_own" in last.stdout
    assert "gadget" not in last.stdout


def test_the_next_command_can_be_pasted(repository):
    declared = (repository / "models.toml").read_text()
    (repository / "small ones.toml").write_text(declared.replace("0.9 }", "0.0001 }"))
    in_ci = {"CI": "true"}  # pytest prints a message twice there: the summary cuts none off
    run = repository.run("-k", "gadget1 and size", zoo="small ones.toml", variables=in_ci)
    assert run.ended("FAILED") == ["small ones.toml::test_size[gadget1-onnx_int8]"], run.stdout
    (command,) = set(re.findall("^next: (.*)", run.stdout, re.MULTILINE))
    pasted = subprocess.run(
        f"{sys.executable} -m {command} -rA",
        shell=True,
        cwd=repository.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    assert ended("PASSED", pasted.stdout) == [
        "small ones.toml::test_integer_only[gadget1-onnx_int8]"
    ]
