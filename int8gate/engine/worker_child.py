"""The inside of the worker process: take a task, run it, answer in plain data.

Nothing heavy is imported here: what a task needs is imported when the task is unpickled, within its
time limit and with its log in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import io
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from int8gate.engine import extras
from int8gate.engine.framework_imports import spare_optional_libraries
from int8gate.engine.plugins import resolve

_LINE_BUFFERED = 1  # stdio.h, _IOLBF
_DYING_S = 2.0  # between SIGKILL and being gone


def serve(connection: Connection, scratch: str, plugins: tuple[str, ...] = ()) -> None:
    """Answer `(payload, log)` messages until the parent hangs up or dies.

    `scratch` is the folder for the temporary files of the tasks; it ends with the worker. `plugins`
    are modules that the first task needs before it runs, see `engine.plugins`.
    """
    os.setpgid(0, 0)  # the parent can kill the converters that a task started, and Ctrl-C passes by
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with_parent(scratch)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    _keep_last_words()
    spare_optional_libraries()
    os.dup2(sys.stdin.fileno(), 0)  # where multiprocessing opened /dev/null
    _write_output_to(os.devnull)
    connection.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            payload, log = connection.recv()
            connection.send("taken")
            connection.send(_execute(payload, log, plugins))


def _execute(payload: bytes, log: str, plugins: tuple[str, ...]) -> tuple:
    """`("done", pickled value, seconds, peak RSS)` or `("failed", type, message, traceback)`."""
    _write_output_to(log)
    try:
        peak_is_ours = _reset_peak_rss()
        started = time.perf_counter()
        for name in plugins:
            importlib.import_module(name)
        function, args, kwargs = pickle.loads(payload)
        if isinstance(function, str):
            function = resolve(function)
        value = pickle.dumps(function(*args, **kwargs))
        seconds = time.perf_counter() - started
        return "done", value, seconds, _peak_rss() if peak_is_ours else None
    except BaseException as error:  # sys.exit() ends the task, not the worker
        summary = traceback.TracebackException.from_exception(error)
        del summary.stack[0]  # this function
        message = extras.explained(error, "this step") or str(summary)
        return "failed", type(error).__name__, message, "".join(summary.format())
    finally:
        _flush()
        _write_output_to(os.devnull)


def _die_with_parent(scratch: str) -> None:
    """Leave no orphan and no temporary file when the parent is killed with SIGKILL.

    A process of its own watches, forked while there are no threads: a thread needs the interpreter
    lock, which a converter may hold for minutes, and the kernel's signal at the parent's death
    would reach the worker, not the converters that it started.
    """
    group = os.getpid()
    if os.fork():
        return
    process = multiprocessing.parent_process()
    assert process is not None  # this one was started by `multiprocessing`
    parent = process.sentinel
    os.closerange(0, parent)  # the pipes: the parent must see them close when the worker dies
    os.closerange(parent + 1, os.sysconf("SC_OPEN_MAX"))
    wait([parent])
    os.setpgid(0, 0)  # out of the group that is to die
    with contextlib.suppress(ProcessLookupError):
        deadline = time.monotonic() + _DYING_S
        while time.monotonic() < deadline:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.02)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


def _keep_last_words() -> None:
    """Lose no line in a buffer when the process dies, and say where it died or hung."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        cast(io.TextIOWrapper, stream).reconfigure(line_buffering=True, errors="backslashreplace")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)
    faulthandler.enable(file=2, all_threads=False)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)  # sent on a timeout


def _write_output_to(path: str) -> None:
    """Point the file descriptors 1 and 2 at `path`: native code writes there, not to sys.stdout."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if file > 2:
        os.close(file)


def _flush() -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError):  # the log's disk may be full
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _reset_peak_rss() -> bool:
    """Start the high-water mark of this process's memory anew (Linux: proc_pid_clear_refs(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_rss() -> int:
    """High-water mark of the resident memory in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")
