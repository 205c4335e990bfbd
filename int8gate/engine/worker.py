"""Run what may crash, hang or eat memory in a process of its own.

Converters segfault, so each pytest process keeps one long-lived worker (TensorFlow is imported
once) that runs one task after another. A task that kills the worker, or outlives its time limit,
ends with an exception that quotes its last words; the next task gets a fresh worker.

    with Worker() as worker:
        result = worker.run(convert, model_path, timeout_s=300, log=Path("convert.log"))

The task must be a module-level function, its module importable by the `sys.path` of the moment the
worker started. The worker is spawned: fork hangs after TensorFlow was used. POSIX only.

This is `multiprocessing.Process` under supervision, not a pool. pebble 5.2.3's ProcessPool was
tried first: a task that calls exit(0) hangs until its time limit, a worker that dies idle or while
it unpickles a task breaks the pool for good, and the worker's pid, needed to watch its memory, is
not public.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from int8gate.engine.errors import (
    TaskFailed,
    TaskLog,
    WorkerCrashed,
    WorkerError,
    WorkerTimeout,
    cause_of_death,
)

if TYPE_CHECKING:
    from int8gate.engine.worker_process import WorkerProcess

__all__ = ["TaskFailed", "TaskResult", "Worker", "WorkerCrashed", "WorkerError", "WorkerTimeout"]

_POLL_S = 0.1


@dataclass(frozen=True)
class TaskResult:
    """A task's value, its wall-clock seconds, and its peak memory.

    `peak_rss_bytes` is the highest resident memory of the worker process while this task ran: it
    includes what the worker held before (TensorFlow itself), not the processes that the task
    started. None where the system cannot reset the high-water mark (all but Linux).
    """

    value: Any
    seconds: float
    peak_rss_bytes: int | None


def task_name(function: str | Callable) -> str:
    """What a task is called: the name of its function (or ``module:name``)."""
    if isinstance(function, str):
        return function.rpartition(":")[2]
    return getattr(function, "__qualname__", repr(function)).rpartition(".")[2]


class Worker:
    """One worker process, started by the first task and replaced whenever it dies.

    `memory_limit_bytes` limits the resident memory of the worker. The parent watches it every 0.1 s
    and kills: RLIMIT_AS counts TensorFlow's address space, RLIMIT_DATA the untouched arenas and
    stacks of its threads, and both end in an abort that does not say why. A fast allocation may
    overshoot the limit by what is touched in 0.1 s.

    `watch` is called every 0.1 s with the name of the task's function and the seconds since it was
    handed over, and with None when it ended.
    """

    def __init__(
        self,
        memory_limit_bytes: int | None = None,
        watch: Callable[[str, float | None], None] | None = None,
    ) -> None:
        self._memory_limit = memory_limit_bytes
        self._watch = watch or (lambda name, seconds: None)
        self._turn = threading.Lock()
        self._child: WorkerProcess | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the worker and what it started. A later `run` starts a new one."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def run(
        self,
        function: str | Callable[..., Any],
        /,
        *args: Any,
        timeout_s: float,
        log: Path | None = None,
        **kwargs: Any,
    ) -> TaskResult:
        """`function(*args, **kwargs)` in the worker; its output (descriptors 1, 2) goes to `log`.
        Of a function named as ``module:name`` the worker alone loads the module.

        The time limit covers the imports of the function's module, not the start of the worker.
        Raises WorkerCrashed, WorkerTimeout, TaskFailed (the task raised, or its value cannot be
        pickled), and TypeError when the function or its arguments cannot be pickled.
        """
        name = task_name(function)
        try:
            payload = pickle.dumps((function, args, kwargs))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"cannot send task {name} to the worker: {error}") from error
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
        with self._turn:
            try:
                child, task_log = self._hand_over(payload, log)
                kind, *answer = self._supervise(child, name, timeout_s, task_log)
            except BaseException:  # Ctrl-C too: the next task must not get this one's reply
                self.close()
                raise
            finally:
                self._watch(name, None)
            if kind == "failed":
                raise TaskFailed(name, task_log, *answer)
            value, seconds, peak = answer
            return TaskResult(pickle.loads(value), seconds, peak)

    def _hand_over(self, payload: bytes, log: Path | None) -> tuple[WorkerProcess, TaskLog]:
        """Send the task to the worker, or to a fresh one if it died since its last task."""
        from int8gate.engine import worker_process

        for _ in range(2):
            if self._child is None:
                self._child = worker_process.start(owner=self)
            child = self._child
            task_log = TaskLog(log.absolute(), kept=True) if log else child.own_log()
            with contextlib.suppress(EOFError, ConnectionError):
                child.connection.send((payload, str(task_log.path)))
                child.connection.recv()  # "taken"
                return child, task_log
            self.close()
        raise RuntimeError("two worker processes died before they took a task")

    def _supervise(self, child: WorkerProcess, name: str, timeout_s: float, log: TaskLog) -> tuple:
        """Wait for the task's reply, its death, its time limit or its memory limit."""
        peak, began = 0, time.monotonic()
        deadline = began + timeout_s
        while True:
            self._watch(name, time.monotonic() - began)
            rss = child.rss()
            peak = max(peak, rss)
            alive = child.process.is_alive()  # before the poll: a reply may precede the death
            if child.connection.poll(_POLL_S if alive else 0):
                with contextlib.suppress(EOFError, ConnectionError):
                    return child.connection.recv()
                alive = False
            if not alive:
                exit_code = child.wait()
                cause = cause_of_death(exit_code, peak)
                raise WorkerCrashed(f"{name} ended its worker: {cause}", log, exit_code)
            if self._memory_limit is not None and rss > self._memory_limit:
                used = f"{rss / 1e6:.0f} MB of memory, over its limit of"
                used = f"{used} {self._memory_limit / 1e6:.0f} MB"
                raise WorkerCrashed(f"{name} used {used}: killed", log, -signal.SIGKILL)
            if time.monotonic() > deadline:
                child.ask_where_it_hangs()
                raise WorkerTimeout(f"{name} did not end within {timeout_s:g} s: killed", log)
