"""Tests of one group run on one worker of xdist, also where workers die."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
from tiny_run import ended, environment

from int8gate.plugin.grouping import THREADS

# One worker of xdist runs them all: what they share is made once.
pytestmark = pytest.mark.xdist_group("grouping")

TESTS = """
import os, pytest

def meets(fate):
    if "TROUBLE" in os.environ:
        assert fate != "fails"
        if fate == "kills":
            os.kill(os.getpid(), 9)

@pytest.mark.xdist_group({group})
@pytest.mark.parametrize("fate", ["a", "fails", "b@c", "kills", "d::e", "f]", "[1]"])
def test_together(fate):
    meets(fate)

@pytest.mark.parametrize("fate", ["a", "b", "c", "d", "kills", "e"])
def test_anywhere(fate):
    print("threads:", os.environ.get("OMP_NUM_THREADS"))
    meets(fate)
"""
FILES = ("test_one.py", "test_two.py")
TOGETHER = [
    f"test_together[{fate}]" for fate in ("a", "fails", "b@c", "kills", "d::e", "f]", "[1]")
]
ANYWHERE = [f"test_anywhere[{fate}]" for fate in ("a", "b", "c", "d", "kills", "e")]
ALL = {f"{file}::{name}" for file in FILES for name in TOGETHER + ANYWHERE}
LOST = {nodeid for nodeid in ALL if "fails" in nodeid or "kills" in nodeid}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two files, each with a group of its own, in a folder whose name could mislead."""
    folder = tmp_path_factory.mktemp("a@b")
    (folder / "test_one.py").write_text(TESTS.format(group='"one"'))
    (folder / "test_two.py").write_text(TESTS.format(group='name="two"'))
    return folder


@pytest.fixture(scope="module")
def troubled(folder) -> str:
    """What a run says whose workers die four times, twice of them at about the same time."""
    return run(folder, "-n2", TROUBLE="1")


def run(folder: Path, *options: str, **variables: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "int8gate.plugin.grouping",
        "-rA",
        "-v",
        *options,
    ]
    kept = {name: value for name, value in environment().items() if name not in THREADS} | variables
    return subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, timeout=120
    ).stdout


def workers(said: str, test: str) -> set[tuple[str, str]]:
    """(worker, file) of all that passed."""
    return set(re.findall(rf"^\[(gw\d)\].* PASSED (\w+\.py)::{test}", said, re.MULTILINE))


def test_each_group_has_one_worker(folder):
    said = run(folder, "-n2")
    assert sorted(ended("PASSED", said)) == sorted(ALL), "the ids are those of one process"
    assert len(workers(said, "test_together")) == len(FILES)
    assert threads(said) == {str(max(1, joblib.cpu_count() // 2))}


def test_workers_that_die_cost_one_test_each(troubled):
    assert "INTERNALERROR" not in troubled
    assert sorted(ended("FAILED", troubled)) == sorted(LOST)
    assert sorted(ended("PASSED", troubled)) == sorted(ALL - LOST)


def test_a_worker_alone_is_replaced(folder):
    said = run(folder, "-n1", "-k", "anywhere", "-p", "no:cacheprovider", TROUBLE="1")
    names = {nodeid for nodeid in ALL if "anywhere" in nodeid}
    assert sorted(ended("FAILED", said)) == sorted(names & LOST)
    assert sorted(ended("PASSED", said)) == sorted(names - LOST)


def test_what_failed_or_died_runs_again(folder, troubled):
    again = run(folder, "--last-failed")
    assert sorted(ended("PASSED", again)) == sorted(LOST)
    assert threads(again) == {"None"}, "a process alone has all cores"


def threads(said: str) -> set[str]:
    return set(re.findall(r"^threads: (\w+)", said, re.MULTILINE))


def test_another_distribution_is_used_when_asked_for(folder):
    said = run(folder, "-n2", "--dist=loadfile", OMP_NUM_THREADS="7")
    assert threads(said) == {"7"}
    assert sorted(ended("PASSED", said)) == sorted(ALL)
    assert len(workers(said, "test_")) == len(FILES)
    assert "scheduling tests via LoadFileScheduling" in said
