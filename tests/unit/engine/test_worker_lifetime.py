"""The worker ends with its parent, however that ends, and never holds it up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_tasks import is_gone

ROOT = Path(__file__).parents[3]

PARENT = """
import sys, threading, time
import worker_tasks as tasks
from int8gate.engine.worker import Worker

def pending(task):
    worker.run(task, sys.argv[1], timeout_s=60)

if __name__ == "__main__":
    worker = Worker()
    {body}
"""


def start_parent(
    tmp_path: Path, body: str, temporary: Path | None = None
) -> tuple[subprocess.Popen, int]:
    """A script with a worker in the middle of a task; the worker's pid."""
    script, pid_file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT.format(body=body))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    parent = subprocess.Popen(
        [sys.executable, script, pid_file],
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(temporary or tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline, "the worker did not start"
        time.sleep(0.02)
    return parent, int(pid_file.read_text())


def test_sigkill_of_the_parent_kills_the_worker(tmp_path):
    """Whose own threads cannot run."""
    parent, worker_pid = start_parent(tmp_path, "pending(tasks.hang_with_interpreter_lock)")
    parent.kill()
    assert is_gone(worker_pid)
    parent.communicate()


def test_sigkill_of_the_parent_kills_a_worker_that_a_thread_started(tmp_path):
    body = "threading.Thread(target=pending, args=(tasks.hang,)).start()"
    parent, worker_pid = start_parent(tmp_path, body)
    parent.kill()
    assert is_gone(worker_pid)
    parent.communicate()


def test_sigkill_of_the_parent_kills_what_the_worker_started(tmp_path):
    parent, converter_pid = start_parent(tmp_path, "pending(tasks.hang_with_a_child)")
    parent.kill()
    assert is_gone(converter_pid)
    parent.communicate()


@pytest.mark.parametrize("ending", ["kill", "terminate", "interrupt"])
def test_temporary_files_end_with_the_worker(tmp_path, ending):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent, worker_pid = start_parent(tmp_path, "pending(tasks.hang_with_a_file)", scratch)
    assert list(scratch.rglob("half a model"))
    if ending == "interrupt":
        parent.send_signal(signal.SIGINT)
    else:
        getattr(parent, ending)()
    parent.communicate()
    assert is_gone(worker_pid)
    deadline = time.monotonic() + 5
    while list(scratch.iterdir()):
        assert time.monotonic() < deadline, sorted(scratch.rglob("*"))
        time.sleep(0.05)


def test_ctrl_c_ends_both_with_one_traceback(tmp_path):
    parent, worker_pid = start_parent(tmp_path, "pending(tasks.hang)")
    os.killpg(parent.pid, signal.SIGINT)  # as the terminal does
    output, _ = parent.communicate(timeout=5)
    assert parent.returncode != 0
    assert output.count("Traceback") == output.count("KeyboardInterrupt") == 1
    assert is_gone(worker_pid)


def test_ctrl_c_while_workers_start(tmp_path):
    body = """
    open(sys.argv[1], "w").write("1")
    while True:
        worker.run(tasks.pid, timeout_s=60)
        worker.close()"""
    moments = random.Random(0)
    for _ in range(5):
        parent, _ = start_parent(tmp_path, body)
        time.sleep(moments.uniform(0.05, 0.3))
        os.killpg(parent.pid, signal.SIGINT)
        output, _ = parent.communicate(timeout=5)
        assert output.count("Traceback") == output.count("KeyboardInterrupt") == 1
        (tmp_path / "pid").unlink()


def test_a_pending_worker_does_not_keep_its_parent_alive(tmp_path):
    body = """threading.Thread(target=pending, args=(tasks.hang,), daemon=True).start()
    while not open(sys.argv[1], "a+").tell(): time.sleep(0.01)"""
    parent, worker_pid = start_parent(tmp_path, body)
    parent.communicate(timeout=5)
    assert is_gone(worker_pid)
