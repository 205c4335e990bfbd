"""The worker survives every way in which a converter can end, and says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import worker_tasks as tasks
from worker_tasks import is_gone

from int8gate.engine import plugins
from int8gate.engine.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def worker():
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONUNBUFFERED", raising=False)  # it unbuffers C's stdout, too
        with Worker() as shared:
            yield shared


def test_value_time_and_one_process_for_all_tasks(worker):
    first = worker.run(tasks.pid, timeout_s=10)
    assert first.value != os.getpid()
    assert worker.run(tasks.pid, timeout_s=10).value == first.value
    result = worker.run(tasks.add, 1, 2, c=3, timeout_s=10)
    assert result.value == 6
    assert 0 <= result.seconds < 1


def test_the_worker_does_not_outgrow_its_imports(worker):
    """Spawning must stay cheap: no numpy, no TensorFlow before a task asks for them."""
    assert worker.run(tasks.add, 1, 1, timeout_s=10).peak_rss_bytes < 80e6


def test_what_plugins_register_is_known_in_a_worker(tmp_path, monkeypatch):
    (tmp_path / "plugin_of_a_test.py").write_text(
        "from int8gate.tasks.registry import register\n"
        "from int8gate.tasks.task import Task\n"
        "register(Task(name='sorting', order=99))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "loaded", lambda: ("plugin_of_a_test",))
    with Worker() as fresh:
        assert fresh.run(tasks.task_names, timeout_s=30).value[-1] == "sorting"


@pytest.mark.parametrize(
    ("task", "args", "exit_code", "says"),
    [
        (tasks.segfault_after_printf, (), -signal.SIGSEGV, "SIGSEGV (segmentation fault)"),
        (tasks.abort, (), -signal.SIGABRT, "SIGABRT (aborted)"),
        (tasks.exit_hard, (3,), 3, "it exited, exit code 3"),
        (tasks.exit_hard, (0,), 0, "it exited, exit code 0"),
        (tasks.kill, (signal.SIGTERM,), -signal.SIGTERM, "SIGTERM (terminated)"),
        (tasks.kill, (signal.SIGRTMIN + 1,), -signal.SIGRTMIN - 1, "real-time signal 1"),
        (tasks.kill, (signal.SIGKILL,), -signal.SIGKILL, "most likely out of memory: peak "),
        (tasks.take, (tasks.ExitsWhenUnpickled(),), 7, "exit code 7"),
        (tasks.fork_and_die, (), 4, "exit code 4"),
    ],
)
def test_death_ends_the_task_and_the_next_gets_a_fresh_worker(worker, task, args, exit_code, says):
    before = worker.run(tasks.pid, timeout_s=10).value
    started = time.monotonic()
    with pytest.raises(WorkerCrashed) as caught:
        worker.run(task, *args, timeout_s=30)
    assert time.monotonic() - started < 3  # noticed at once, not at the time limit
    assert caught.value.exit_code == exit_code
    assert says in str(caught.value)
    assert task.__name__ in str(caught.value)
    assert is_gone(before)
    assert worker.run(tasks.add, 1, 2, timeout_s=10).value == 3


def test_a_worker_killed_between_tasks_is_replaced(worker):
    os.kill(worker.run(tasks.pid, timeout_s=10).value, signal.SIGKILL)
    assert worker.run(tasks.add, 1, 2, timeout_s=10).value == 3


def test_a_worker_that_hangs_up_is_killed(worker):
    started = time.monotonic()
    with pytest.raises(WorkerCrashed):
        worker.run(tasks.hang_up_and_stay, timeout_s=30)
    assert time.monotonic() - started < 10
    assert worker.run(tasks.add, 1, 2, timeout_s=10).value == 3


def test_timeout_says_where_it_hung_and_kills_what_the_task_started(worker, tmp_path):
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(WorkerTimeout, match="did not end within 1 s") as caught:
        worker.run(tasks.hang_with_a_child, str(pid_file), timeout_s=1)
    assert 1 <= time.monotonic() - started < 3
    assert caught.value.last_words[0] == "waiting for the converter"
    assert any("in hang_with_a_child" in word for word in caught.value.last_words)
    assert is_gone(int(pid_file.read_text()))
    assert worker.run(tasks.add, 1, 2, timeout_s=10).value == 3


def test_timeout_of_a_task_that_holds_the_interpreter_lock(worker):
    with pytest.raises(WorkerTimeout, match="hang_with_interpreter_lock"):
        worker.run(tasks.hang_with_interpreter_lock, timeout_s=0.5)


def test_memory_limit_kills_the_hog_and_spares_the_modest():
    with Worker(memory_limit_bytes=300_000_000) as limited:
        assert limited.run(tasks.hold, 100, timeout_s=10).value == 100 << 20
        with pytest.raises(WorkerCrashed, match="memory, over its limit of 300 MB") as caught:
            limited.run(tasks.eat_memory, timeout_s=30)
        assert caught.value.exit_code == -signal.SIGKILL
        assert limited.run(tasks.add, 1, 2, timeout_s=10).value == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/clear_refs")
def test_peak_memory_is_of_one_task(worker):
    small = worker.run(tasks.hold, 1, timeout_s=10).peak_rss_bytes
    large = worker.run(tasks.hold, 200, timeout_s=10).peak_rss_bytes
    after = worker.run(tasks.hold, 1, timeout_s=10).peak_rss_bytes
    assert 195 << 20 < large - small < 500 << 20
    assert abs(after - small) < 20 << 20


@pytest.mark.parametrize(
    ("task", "args", "type_name"),
    [
        (tasks.raise_exotic, (), "ExoticError"),
        (tasks.exit_politely, (2,), "SystemExit"),
        (tasks.return_a_lock, (), "TypeError"),
    ],
)
def test_failures_that_cannot_be_pickled(worker, task, args, type_name):
    with pytest.raises(TaskFailed) as caught:
        worker.run(task, *args, timeout_s=10)
    assert caught.value.type_name == type_name
    assert worker.run(tasks.add, 1, 2, timeout_s=10).value == 3


def test_a_task_that_cannot_be_sent(worker):
    with pytest.raises(TypeError, match=r"cannot send task .*lambda"):
        worker.run(lambda: 1, timeout_s=10)
    with pytest.raises(TypeError, match="cannot send task take"):
        worker.run(tasks.take, threading.Lock(), timeout_s=10)


def test_a_task_that_asks_a_question_gets_no_answer(worker):
    """It must not wait for the terminal, nor take what is typed there."""
    assert worker.run(tasks.read_stdin, timeout_s=5).value == b""


def test_sigint_does_not_reach_the_task(worker):
    assert worker.run(tasks.survive_sigint, timeout_s=10).value == "alive"


def test_tasks_of_two_threads_run_one_after_the_other(worker):
    values = []
    threads = [
        threading.Thread(
            target=lambda n=n: values.append(worker.run(tasks.add, n, 0, timeout_s=10).value)
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(values) == [0, 1, 2, 3]


def test_a_worker_started_by_a_thread_outlives_it():
    with Worker() as threaded:
        pids = []
        thread = threading.Thread(
            target=lambda: pids.append(threaded.run(tasks.pid, timeout_s=10).value)
        )
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert threaded.run(tasks.pid, timeout_s=10).value == pids[0]


def test_close_kills():
    worker = Worker()
    pid = worker.run(tasks.pid, timeout_s=10).value
    worker.close()
    assert is_gone(pid)
    worker.close()


def test_importing_the_worker_is_cheap():
    code = "import int8gate.engine.worker, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    heavy = {"numpy", "tensorflow", "psutil", "multiprocessing"}
    assert not heavy & set(run.stdout.decode().split())
