"""How the process of `engine.worker` is started and killed; `worker_child.py` is its inside."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil

from int8gate.engine import plugins
from int8gate.engine.errors import TaskLog
from int8gate.engine.worker_child import serve

OWN_LOG = "task.log"

_START_LIMIT_S = 120.0
_CLOSING_S = 2.0  # between hanging up and being gone
_TRACE_S = 0.2  # what a hanging worker gets to write where it hangs


@dataclass(frozen=True)
class WorkerProcess:
    """The parent's handle. `scratch` is the folder of the worker's temporary files."""

    process: SpawnProcess
    connection: Connection
    scratch: Path
    finalizer: Callable[[], None]

    def stop(self) -> None:
        """Kill it and what it started, if that was not done; happens when the parent exits."""
        with _uninterrupted():
            self.finalizer()

    def rss(self) -> int:
        """Resident memory in bytes, 0 when the process is gone."""
        try:
            return psutil.Process(self.process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0

    def own_log(self) -> TaskLog:
        """An empty log for a task that came without one; it ends with the worker."""
        log = self.scratch / OWN_LOG
        log.write_bytes(b"")
        return TaskLog(log, kept=False)

    def wait(self) -> int:
        """The exit code of a process that has hung up, killed if it stays."""
        deadline = time.monotonic() + _CLOSING_S  # join(timeout) waits without limit here
        while self.process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        assert code is not None  # join() waited for it
        return code

    def ask_where_it_hangs(self) -> None:
        """Have faulthandler write the main thread's stack to the log."""
        os.kill(self.process.pid, signal.SIGUSR1)
        time.sleep(_TRACE_S)


def start(owner: object) -> WorkerProcess:
    """A worker that waits for its first task and dies, at the latest, with `owner`.

    Raises RuntimeError when it does not start, OSError when there is no room for its files.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    resource_tracker.ensure_running()  # now: its start would unblock SIGINT
    with _uninterrupted():  # the child inherits this until it ignores SIGINT
        scratch = tempfile.mkdtemp(prefix="int8gate-worker-")
        process = context.Process(target=serve, args=(theirs, scratch, plugins.loaded()))
        process.start()
        # Not atexit, not weakref.finalize: these may run after multiprocessing waited for children.
        finalizer = util.Finalize(owner, _kill, args=(process, ours, scratch), exitpriority=10)
    theirs.close()
    with contextlib.suppress(EOFError, ConnectionError):
        if ours.poll(_START_LIMIT_S):
            ours.recv()
            return WorkerProcess(process, ours, Path(scratch), finalizer)
    finalizer()
    raise RuntimeError(f"the worker process did not start, exit code {process.exitcode}")


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: a worker that is neither registered nor dead would block the exit."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _kill(process: SpawnProcess, connection: Connection, scratch: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the converters that it started, too
    process.kill()
    process.join()
    connection.close()
    shutil.rmtree(scratch, ignore_errors=True)
