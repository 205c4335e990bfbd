"""A stage within a budget ends with it, and may be tried again: it is no failure of the stage."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.stage import StageRunner

SLEEP = "time:sleep"


@pytest.fixture
def runner(tmp_path):
    with Worker() as worker:
        yield StageRunner(Settings(), ArtifactCache(tmp_path / "cache"), worker)


def test_the_budget_is_the_limit_of_its_block_alone(runner):
    runner.in_worker(SLEEP, 0)  # the process is up
    began = time.monotonic()
    with runner.within(0.5), pytest.raises(RuntimeError, match=r"0\.5"):
        runner.in_worker(SLEEP, 60)
    assert time.monotonic() - began < 30
    with runner.within(600):  # never more than a stage has
        runner.settings = replace(runner.settings, stage_timeout_s=0.5)
        with pytest.raises(RuntimeError):
            runner.in_worker(SLEEP, 60)
    runner.settings = Settings()
    runner.in_worker(SLEEP, 1)


def slow_once(flag, directory) -> None:
    """Takes a minute as long as the file is not there."""
    if not flag.exists():
        time.sleep(60)


def test_what_did_not_end_within_a_budget_is_tried_again(runner, tmp_path):
    flag = tmp_path / "flag"
    asked = ("slow", {"of": "a test"}, slow_once, lambda: (flag,))
    with runner.within(1), pytest.raises(RuntimeError):
        runner.kept(*asked)
    flag.touch()
    assert not runner.kept(*asked).hit
