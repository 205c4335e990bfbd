"""A run that is killed loses no finished case, leaves nothing behind, and is resumed by a rerun."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from faults import RUN
from faults_project import Calm, Repository, Run, calm_run, entries, settled


@pytest.fixture
def calm(tmp_path_factory) -> Calm:
    return calm_run(tmp_path_factory.getbasetemp())


def end_at(
    repository: Repository, moment_s: float, cache: Path, report: str, by: int = signal.SIGKILL
) -> Run:
    """A run that gets a signal; what it leaves is whole."""
    run = repository.start(cache=cache, report=report)
    time.sleep(moment_s)
    run.process.send_signal(by)
    run.wait()
    run.assert_ended()
    assert not run.temporary()
    run.cases()  # half a file would raise here
    return run


def check_rerun(calm: Calm, killed: list[Run], cache: Path) -> None:
    """The same again is resumed where the killed ones ended, and finds what a calm run finds."""
    before = entries(cache)
    kept = {case: found for case, found in killed[-1].cases().items() if is_finished(found)}
    rerun = calm.repository.run(cache=cache, report=killed[-1].report)
    assert rerun.code == 0, rerun.stdout
    rerun.assert_left_nothing(cache)
    after = entries(cache)
    assert before.items() <= after.items(), "a finished stage was done again"
    built = [run.built() for run in (*killed, rerun)]
    for number, names in enumerate(built):
        again = set(names) & set().union(*built[:number])
        assert len(again) <= number, "more was repeated than what was interrupted"
    found = {case: settled(record) for case, record in rerun.cases().items()}
    assert found == calm.records
    for case, record in kept.items():
        assert settled(record) == calm.records[case]


def is_finished(record: dict) -> bool:
    applicable = {gate: status for gate, status in record["gates"].items() if gate != "npu_speedup"}
    return all(applicable.values())


def test_interrupted_and_then_killed(calm):
    cache, report, moments = calm.repository / "again", "again_report", random.Random(3)
    ended = [
        end_at(calm.repository, moments.uniform(0.4, 0.9) * calm.seconds, cache, report, by)
        for by in (signal.SIGINT, signal.SIGKILL)
    ]
    check_rerun(calm, ended, cache)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_moment(calm, seed):
    cache, moment_s = calm.repository / f"cache{seed}", random.Random(seed).uniform(0, calm.seconds)
    killed = end_at(calm.repository, moment_s, cache, f"report{seed}")
    check_rerun(calm, [killed], cache)


@pytest.mark.heavy  # by default: test_run_verdicts.py, of gates that convert nothing
def test_killed_worker_of_xdist_loses_no_record(calm):
    """One of two processes of a run dies in the middle of a case."""
    victim, *others = calm.repository.cases()
    run = calm.repository.run(
        "-n2", cache="xdist", report="xdist_report", faults={victim: ("evaluate", RUN)}
    )
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "INTERNALERROR" not in run.stdout + run.stderr
    run.assert_left_nothing(calm.repository / "xdist")
    records = run.cases()
    assert {case: settled(records[case]) for case in others} == {
        case: calm.records[case] for case in others
    }
    assert records[victim]["verdict"] == "error"
    assert "crashed while running" in records[victim]["reason"]
    assert is_finished(records[victim])
