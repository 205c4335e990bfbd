"""Disks that are full or read-only, damaged entries, shared caches, a clock that goes back."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_project import RECIPE, Calm, Repository, calm_run, entries, settled
from tiny_run import ROOT, environment

WAY_OUT = "pass --artifact-cache DIR with a writable directory"


@pytest.fixture
def calm(tmp_path_factory) -> Calm:
    return calm_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def repository(calm) -> Repository:
    return calm.repository


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips where mounting is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_under_the_cache(repository):
    with mounted(repository / "small", "1m") as cache:
        run = repository.run("-k", "gadget0", cache=cache, report="small_report")
        assert run.code == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
        assert "INTERNALERROR" not in run.stdout
        record = run.cases()[f"gadget0-{RECIPE}"]
        assert record["verdict"] == "error"
        assert re.search(
            rf"{cache} cannot be written \(No space left .*{WAY_OUT}", record["reason"]
        )
        run.assert_left_nothing(cache)


def test_full_disk_under_the_report(repository, calm):
    with mounted(repository / "page", "8k") as report:
        run = repository.run(cache=calm.cache, report=report)
        assert run.code == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
        assert "INTERNALERROR" not in run.stdout
        assert len(run.ended("PASSED")) == 10, "the gates themselves hold"
        assert re.search(rf"^NO REPORT: cannot write {report}.*No space left", run.stdout, re.M)
        assert run.results()["environment"]["finished"] is False, "what is there is whole"
        run.assert_left_nothing(calm.cache)


@pytest.mark.heavy
def test_read_only_cache_serves_what_it_has(repository):
    with mounted(repository / "frozen", "100m") as cache:
        assert repository.run("-k", "gadget0", cache=cache, report="frozen_report").code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        run = repository.run(cache=cache, report="frozen_report")
        records = run.cases()
        assert records[f"gadget0-{RECIPE}"]["verdict"] == "passed"
        other = records[f"gadget1-{RECIPE}"]
        assert other["verdict"] == "error"
        assert re.search(
            rf"cannot be written \(Read-only file system\).*{WAY_OUT}", other["reason"]
        )
        run.assert_left_nothing(cache)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {  # kind of entry, file in it, what happens to it
    ("artifact", "model.onnx"): truncate,
    ("evaluation", "statistics.npz"): alter,
    ("statistics", "entry.json"): truncate,
    ("samples", "samples.npy"): alter,
    ("program", "entry.json"): Path.unlink,
}


@pytest.mark.heavy  # by default: engine/test_cache.py, and a pipeline's entries
def test_damaged_entries_are_built_again(repository, calm):
    cache = repository / "damaged"
    shutil.copytree(calm.cache, cache)
    damaged = [
        (file, damage)
        for (kind, name), damage in DAMAGES.items()
        for file in sorted(cache.glob(f"{kind}/*/*/{name}"))
    ]
    assert len(damaged) >= 2 * len(DAMAGES)
    for file, damage in damaged:
        damage(file)
    before = entries(cache)
    run = repository.run(cache=cache, report="rebuilt")
    assert run.code == 0, run.stdout
    assert {case: settled(record) for case, record in run.cases().items()} == calm.records
    said = set(re.findall(r"cache entry (\S+) is damaged .*: removed, building", run.stdout))
    after = entries(cache)
    changed = {name for name, time_ns in before.items() if after.get(name) != time_ns}
    assert {Path(place).name for place in said} >= {name.split("/")[1] for name in changed}
    assert {Path(place).parts[-3] for place in said} >= {"artifact", "evaluation"}
    run.assert_left_nothing(cache)
    whole = repository.run("-m", "accuracy", cache=cache, report="whole")
    assert "is damaged" not in whole.stdout


@pytest.mark.heavy
def test_two_runs_that_share_a_cache(repository, calm):
    runs = [repository.start(cache="shared", report=f"shared{number}") for number in range(2)]
    for run in runs:
        assert run.wait().code == 0, run.stdout
        run.assert_left_nothing(repository / "shared")
        assert {case: settled(record) for case, record in run.cases().items()} == calm.records
    built = Counter(runs[0].built() + runs[1].built())
    assert built
    assert set(built.values()) == {1}, "built by both"


CLOCK = """
import datetime, time

STARTED, clock, clock_ns = time.monotonic(), time.time, time.time_ns


def lag():  # a day, from the third second on
    return 86400 if time.monotonic() > STARTED + 3 else 0


class Lagging(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(seconds=lag())

    @classmethod
    def utcnow(cls):
        return super().utcnow() - datetime.timedelta(seconds=lag())


time.time = lambda: clock() - lag()
time.time_ns = lambda: clock_ns() - lag() * 10**9
datetime.datetime = Lagging
"""


@pytest.mark.heavy
def test_clock_that_goes_back(repository, calm):
    """In the middle of a run, by a day; then a history whose last run seems to be the first."""
    (repository / "clock").mkdir()
    (repository / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(repository / "clock"), str(ROOT / "tests/support")])
    lagging = {"PYTHONPATH": path}
    first = repository.run("--benchmark-autosave", cache="clocked", report="clock_report")
    second = repository.run(
        "--benchmark-autosave", cache="clocked2", report="clock_report", variables=lagging
    )
    assert (first.code, second.code) == (0, 0), second.stdout
    for case, record in second.cases().items():
        assert settled(record) == calm.records[case]
        assert all(seconds >= 0 for seconds in record["seconds"].values() if seconds is not None)
        assert record["cpu"]["speedup"] > 0
    saved = sorted((repository / ".int8gate" / "runs").glob("*/results.json"))
    assert [file.parent.name[:4] for file in saved] == ["0001", "0002"]
    told = subprocess.run(
        [sys.executable, "-m", "int8gate.cli.app", "history", f"gadget0-{RECIPE}"],
        cwd=repository.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.index("0001") < told.stdout.index("0002")


def test_a_gate_that_cannot_begin_is_in_the_record(repository):
    """A fixture that fails, here one of the team's own."""
    broken = "import pytest\n\n\n@pytest.fixture\ndef int8_case():\n    raise OSError('no room')\n"
    (repository / "conftest.py").write_text(broken)
    try:
        run = repository.run("-k", "gadget0 and size", report="begun")
    finally:
        (repository / "conftest.py").unlink()
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.stdout
    record = run.cases()[f"gadget0-{RECIPE}"]
    assert (record["verdict"], record["reason"]) == ("error", "size: OSError: no room")


def test_a_temporary_cache_of_a_killed_process_is_removed(tmp_path):
    script = "from int8gate.engine.cache import open_cache; open_cache('none'); input()"
    variables = environment() | {"TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "cwd": ROOT, "env": variables}
    process = subprocess.Popen([sys.executable, "-c", script], **pipes)
    while not list(tmp_path.glob("*/.alive")):
        assert process.poll() is None
    living = subprocess.Popen([sys.executable, "-c", script], **pipes)
    while len(list(tmp_path.glob("*/.alive"))) < 2:
        assert living.poll() is None
    process.kill()
    process.wait()
    (abandoned, kept) = sorted(
        tmp_path.glob("*"), key=lambda folder: (folder / ".alive").stat().st_mtime_ns
    )
    living_too = subprocess.run(
        [sys.executable, "-c", script], input=b"\n", cwd=ROOT, env=variables, check=True
    )
    assert living_too.returncode == 0
    assert not abandoned.exists()
    assert kept.exists()
    living.communicate(b"\n")
    assert not list(tmp_path.iterdir())
