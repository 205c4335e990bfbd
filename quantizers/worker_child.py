"""The inside of the worker process: take a task, run it, answer in plain data.

Nothing heavy is imported here: what a task needs is imported when the task is unpickled, within its
time limit and with its log in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINE_BUFFERED = 1  # stdio.h, _IOLBF


def serve(connection: Connection, started_by_main_thread: bool) -> None:
    """Answer `(payload, log)` messages until the parent hangs up or dies."""
    os.setpgid(0, 0)  # the parent can kill the converters that a task started, and Ctrl-C passes by
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with_parent(started_by_main_thread)
    _keep_last_words()
    os.dup2(sys.stdin.fileno(), 0)  # where multiprocessing opened /dev/null
    _write_output_to(os.devnull)
    connection.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            payload, log = connection.recv()
            connection.send("taken")
            connection.send(_execute(payload, log))


def _execute(payload: bytes, log: str) -> tuple:
    """`("done", pickled value, seconds, peak RSS)` or `("failed", type, message, traceback)`."""
    _write_output_to(log)
    try:
        peak_is_ours = _reset_peak_rss()
        started = time.perf_counter()
        function, args, kwargs = pickle.loads(payload)
        value = pickle.dumps(function(*args, **kwargs))
        seconds = time.perf_counter() - started
        return "done", value, seconds, _peak_rss() if peak_is_ours else None
    except BaseException as error:  # sys.exit() ends the task, not the worker
        summary = traceback.TracebackException.from_exception(error)
        del summary.stack[0]  # this function
        return "failed", type(error).__name__, str(summary), "".join(summary.format())
    finally:
        _flush()
        _write_output_to(os.devnull)


def _die_with_parent(started_by_main_thread: bool) -> None:
    """Leave no orphan when the parent is killed with SIGKILL.

    The watchdog thread needs the interpreter lock, which a converter may hold for minutes, so on
    Linux the kernel is asked as well. It sends the signal when the *thread* that started the worker
    ends, which is the end of the parent only if that was its main thread.
    """
    if sys.platform == "linux" and started_by_main_thread:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="parent watchdog", daemon=True).start()


def _keep_last_words() -> None:
    """Lose no line in a buffer when the process dies, and say where it died or hung."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
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
