"""Cases stay whole on the workers of xdist, also where workers die; each worker has its cores."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import joblib
import pytest
from tiny_run import ended, environment

from int8gate.plugin.grouping import THREADS

CASES, GATES = 24, 5
TESTS = f"""
import os, time, pytest

IDS = [f"{{gate}}-case{{case}}" for case in range({CASES}) for gate in range({GATES})]

@pytest.mark.parametrize("name", IDS)
def test_gate(name):
    print("threads:", os.environ.get("OMP_NUM_THREADS"))
    time.sleep(0.01)
    if name in os.environ.get("KILLS", "").split():
        os.kill(os.getpid(), 9)
"""
KILLS = ("2-case3", "1-case20")
ALL = {f"test_cases.py::test_gate[{gate}-case{case}]" for case in range(CASES)
       for gate in range(GATES)}  # fmt: skip
LOST = {f"test_cases.py::test_gate[{name}]" for name in KILLS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a@b")  # a name that could mislead
    (folder / "test_cases.py").write_text(TESTS)
    (folder / "gadget.onnx").touch()
    (folder / "models.toml").write_text(
        "[models.gadget]\nfile = 'gadget.onnx'\ntask = 'other'\ndata = '.'\n"
    )
    return folder


@pytest.fixture(scope="module")
def calm(folder) -> str:
    return run(folder, "-n2")


@pytest.fixture(scope="module")
def troubled(folder) -> str:
    """What a run says of which both workers die within a case."""
    return run(folder, "-n2", KILLS=" ".join(KILLS))


def run(folder: Path, *options: str, **variables: str) -> str:
    """Of a run that is asked for gates, and is left with tests that look like them."""
    command = [sys.executable, "-m", "pytest", "test_cases.py", "-rA", "-v"]
    command += ["--int8-zoo=models.toml", "--deselect=models.toml"]
    kept = {name: value for name, value in environment().items() if name not in THREADS}
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


def split_cases(output: str) -> int:
    """How many cases had gates on more than one worker."""
    workers = defaultdict(set)
    for worker, case in re.findall(r"^\[(gw\d+)\].*\[\d-(case\d+)\]", output, re.MULTILINE):
        workers[case].add(worker)
    assert len(workers) == CASES
    return Counter(len(each) > 1 for each in workers.values())[True]


def threads(output: str) -> set[str]:
    return set(re.findall(r"^threads: (\w+)", output, re.MULTILINE))


def test_neighbours_stay_on_a_worker(calm):
    assert "scheduling tests via WorkStealingScheduling" in calm
    assert sorted(ended("PASSED", calm)) == sorted(ALL), "the ids are those of one process"
    assert len(set(re.findall(r"^\[(gw\d)\]", calm, re.MULTILINE))) == 2
    # What a worker that is done takes from the other may begin within a case: seldom, at the end.
    assert split_cases(calm) <= 2
    assert threads(calm) == {str(max(1, joblib.cpu_count() // 2))}


def test_workers_that_die_cost_one_test_each(troubled):
    assert "INTERNALERROR" not in troubled
    assert sorted(ended("FAILED", troubled)) == sorted(LOST)
    assert sorted(ended("PASSED", troubled)) == sorted(ALL - LOST)
    assert split_cases(troubled) <= 8, "about as many as there are pieces of the two queues"


def test_a_worker_alone_is_replaced(folder):
    output = run(folder, "-n1", "-p", "no:cacheprovider", KILLS=" ".join(KILLS))
    assert sorted(ended("FAILED", output)) == sorted(LOST)
    assert sorted(ended("PASSED", output)) == sorted(ALL - LOST)


def test_what_died_runs_again(folder, troubled):
    again = run(folder, "--last-failed")
    assert sorted(ended("PASSED", again)) == sorted(LOST)
    assert threads(again) == {"None"}, "a process alone has all cores"


def test_another_distribution_is_used_when_asked_for(folder):
    output = run(folder, "-n2", "--dist=load", OMP_NUM_THREADS="7")
    assert threads(output) == {"7"}
    assert sorted(ended("PASSED", output)) == sorted(ALL)
    assert "scheduling tests via LoadScheduling" in output
