"""Tasks for the tests of the worker: what a converter may do to the process it runs in."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def is_gone(pid: int, within_s: float = 3.0) -> bool:
    """Whether the process ended; an unreaped orphan counts as ended."""
    import psutil

    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def pid() -> int:
    return os.getpid()


def add(a: int, b: int, *, c: int = 0) -> int:
    return a + b + c


def task_names() -> list[str]:
    """The tasks that are known in this process."""
    from int8gate.tasks.registry import tasks

    return list(tasks())


def segfault_after_printf() -> None:
    """C's stdout is buffered: these words survive only if the worker made it line buffered."""
    ctypes.CDLL(None).printf(b"converter: folding constants\n")
    ctypes.string_at(0)


def abort() -> None:
    os.write(2, b"F0000 check failed: shape mismatch\n")
    os.abort()


def read_stdin() -> bytes:
    return subprocess.run(["cat"], capture_output=True, check=True).stdout


def exit_hard(code: int) -> None:
    os._exit(code)


def exit_politely(code: int) -> None:
    sys.exit(code)


def kill(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def survive_sigint() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return "alive"


def hang(pid_file: str) -> None:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(60)


def hang_with_interpreter_lock(pid_file: str | None = None) -> None:
    """No Python thread of this process runs any more, as in a converter that keeps the lock."""
    if pid_file is not None:
        Path(pid_file).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(60)


def hang_with_a_child(pid_file: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(pid_file).write_text(str(child.pid))
    print("waiting for the converter")
    child.wait()


def hang_with_a_file(pid_file: str) -> None:
    """As a converter that keeps what it works on in the folder for temporary files."""
    (Path(tempfile.mkdtemp()) / "half a model").write_bytes(b"x" * 1000)
    hang(pid_file)


def hang_up_and_stay() -> None:
    os.closerange(3, 256)
    time.sleep(60)


def eat_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * (20 << 20))
        time.sleep(0.02)


def hold(megabytes: int) -> int:
    return len(bytearray(b"x") * (megabytes << 20))


class ExoticError(Exception):
    """Neither this nor its text can leave the process."""

    def __init__(self, lock: object) -> None:
        self.lock = lock

    def __str__(self) -> str:
        raise RuntimeError("no text either")


def raise_exotic() -> None:
    raise ExoticError(threading.Lock())


def raise_value_error() -> None:
    print("reading model")
    raise ValueError("scale of tensor 'x' is zero: expected a positive scale")


def return_a_lock() -> object:
    return threading.Lock()


class ExitsWhenUnpickled:
    def __reduce__(self) -> tuple:
        return os._exit, (7,)


def take(_: object) -> None:
    pass


def write_much(megabytes: int) -> None:
    line = b"W warning %d: " + b"x" * 1000 + b"\n"
    for _ in range(megabytes * 1000):
        os.write(2, line)
    for number in range(20):
        print(f"line {number}")
        print(f"line {number}")
    raise RuntimeError("too much")


def write_everywhere() -> None:
    print("python stdout, \udcff")
    print("python stderr", file=sys.stderr)
    os.write(1, b"descriptor 1\n")
    os.write(2, b"descriptor 2\n")
    ctypes.CDLL(None).printf(b"no newline at the end")
    subprocess.run(["echo", "subprocess"], check=True)


def fork_and_die() -> None:
    """The fork keeps the worker's pipes open, so that its death closes none of them."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(5)
        os._exit(0)
    os._exit(4)
