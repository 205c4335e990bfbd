"""Shards: the same result however split, by whatever back end; no finished one is done twice."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import shard_tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, save
from shard_tasks import TENSORS

from int8gate.quantizers.calibration import shards
from int8gate.quantizers.calibration.table import read_table
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector

COUNT = 20
ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path):
    """A model, its samples, the directory of the shards and the log of those that ran."""
    model, samples = save(cnn(), tmp_path / "m.onnx"), tmp_path / "samples.npy"
    np.save(samples, pictures(COUNT).transpose(0, 2, 3, 1))
    (tmp_path / "log").touch()
    yield model, samples, tmp_path / "shards", tmp_path / "log"
    onnx_collector.close()


def contents(table) -> dict:
    return {
        name: {part: array.tolist() for part, array in stats.to_arrays().items()}
        for name, stats in table.items()
    }


def collector(log: Path, **options) -> functools.partial:
    return functools.partial(shard_tasks.traced, log=str(log), **options)


def ran(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()]


def whole(model, samples) -> dict:
    return contents(onnx_collector.collect(model, samples, None, TENSORS, every=3))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(shard=st.integers(1, COUNT + 3))
def test_the_result_does_not_depend_on_the_shards(files, shard):
    model, samples, directory, log = files
    found = shards.calibrate(collector(log), model, samples, directory, shard=shard)
    assert contents(found) == whole(model, samples)


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_the_result_does_not_depend_on_the_back_end(files, backend):
    model, samples, directory, log = files
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = shards.calibrate(collector(log), model, samples, directory, jobs=None, shard=3)
    assert contents(found) == whole(model, samples)
    assert sorted(ran(log)) == sorted(f"{i}:{min(i + 3, COUNT)}" for i in range(0, COUNT, 3))


def test_workers_do_not_load_what_they_do_not_need(files):
    model, samples, directory, log = files
    shards.calibrate(collector(log), model, samples, directory, jobs=2, shard=10)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(lines) == [["0:10"], ["10:20"]]


def test_a_killed_run_goes_on_where_it_was(files):
    model, samples, directory, log = files
    script = [sys.executable, str(ROOT / "tests" / "support" / "shard_tasks.py")]
    arguments = [str(path) for path in (model, samples, directory, log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*script, *arguments, "12"], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(list(directory.glob("*.npz"))) < 3 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert ran(log) == ["0:4", "4:8", "8:12"]
    again = functools.partial(shard_tasks.hold, log=str(log))
    found = shards.calibrate(again, model, samples, directory, shard=4)
    assert ran(log) == ["0:4", "4:8", "8:12", "12:16", "16:20"]
    assert contents(found) == whole(model, samples)


def test_finished_shards_outlive_a_failure(files):
    model, samples, directory, log = files
    for _ in range(2):
        with pytest.raises(ValueError, match="sample 13 is bad"):
            shards.calibrate(collector(log, bad=13), model, samples, directory, shard=4)
    assert ran(log) == ["0:4", "4:8", "8:12"]


def test_a_damaged_shard_is_done_again(files):
    model, samples, directory, log = files
    first = contents(shards.calibrate(collector(log), model, samples, directory, shard=10))
    damaged = sorted(directory.glob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    again = shards.calibrate(collector(log), model, samples, directory, shard=10)
    assert contents(again) == first
    assert len(ran(log)) == 3
    assert read_table(damaged)


def test_only_shards_of_the_same_work_are_taken(files):
    model, samples, directory, log = files
    shards.calibrate(collector(log), model, samples, directory, shard=10)
    values = np.load(samples)
    values[15] += 1
    np.save(samples, values)
    shards.calibrate(collector(log), model, samples, directory, shard=10)
    assert ran(log)[2:] == ["10:20"]
    shards.calibrate(collector(log, bad=-2), model, samples, directory, shard=10)
    assert ran(log)[3:] == ["0:10", "10:20"]
    save(cnn(seed=1), model)
    found = shards.calibrate(collector(log), model, samples, directory, shard=10)
    assert ran(log)[5:] == ["0:10", "10:20"]
    assert contents(found) == whole(model, samples)


def test_progress_is_shown_on_a_terminal_only(files, capfd, monkeypatch):
    model, samples, directory, log = files
    shards.calibrate(collector(log), model, samples, directory, shard=10)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shards.calibrate(collector(log), model, samples, directory, shard=4)
    assert "m.onnx: samples" in capfd.readouterr().err


def test_an_empty_shard_is_refused(files):
    model, samples, directory, log = files
    with pytest.raises(ValueError, match="at least 1 sample"):
        shards.calibrate(collector(log), model, samples, directory, shard=0)
