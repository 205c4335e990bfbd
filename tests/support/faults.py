"""Faults of converters, injected into whole pytest runs: at a stage of a case.

A `Fault` says what happens and what the run must say of it. As a plugin of the run (`-p faults`,
this folder on PYTHONPATH) this module lets FAULTS, a JSON of `{case: [stage, fault]}`, happen: the
stage does its work in the worker process and is then struck, so that all it wrote is at stake. With
the fault RUN it is the process of pytest that dies, once, when the stage begins. Each stage that
begins is a line of the file STAGES_LOG: case, function, the cache entry that it builds or `-`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from int8gate.engine.plugins import resolve

RUN = "run"
WORDS = "folding the last constant"
TIME_LIMIT_S = 20  # of a stage that takes a second or two on an idle machine
GRACE_S = 10  # that the NPU's compiler gets to say itself that its time is up
MEMORY_LIMIT_GB = 1.5


def segfault() -> None:
    ctypes.string_at(0)


def exit_hard() -> None:
    os._exit(7)


def hang() -> None:
    """Neither Python's threads nor its signal handlers run any more."""
    ctypes.PyDLL(None).sleep(600)


def eat_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * (20 << 20))
        time.sleep(0.005)


def be_killed() -> None:
    """As by the kernel when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Fault:
    """How a process ends; `said` is what the sentence of the case must hold, a pattern."""

    name: str
    strike: Callable[[], None]
    said: str


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("segfault", segfault, r"SIGSEGV \(segmentation fault\)"),
        Fault("abort", os.abort, r"SIGABRT \(aborted\)"),
        Fault("exit", exit_hard, r"exit code 7"),
        Fault("hang", hang, rf"(within|after) ({TIME_LIMIT_S}|{TIME_LIMIT_S + GRACE_S}) s"),
        Fault("memory", eat_memory, rf"limit of {MEMORY_LIMIT_GB * 1000:.0f} MB"),
        Fault("kill", be_killed, r"SIGKILL \(killed, most likely out of memory"),
    )
}
# The functions that run in a worker for a case, by name.
STAGES_OF_ALL_GATES = (
    "describe",  # what a model file holds
    "export_onnx",
    "to_onnx",
    "prepare",  # calibration samples
    "calibrate",
    "quantize",
)
STAGES_OF_A_GATE = {  # and the gate that needs it
    "evaluate": "accuracy",
    "findings": "accuracy",  # the audit of the calibration set
    "what_ran_as_integer": "integer_only",
    "interleave": "cpu_speedup",
    "entry": "npu_speedup",  # of a target
}


class Injected:
    """A stage's function that a fault strikes when it is done."""

    def __init__(self, function: Callable, fault: str):
        self.function, self.fault = function, fault
        self.__qualname__ = function.__qualname__  # what the worker calls the task

    def __call__(self, *arguments, **named):
        self.function(*arguments, **named)
        print(WORDS)
        FAULTS[self.fault].strike()


class Injector:
    """The plugin: it knows which case runs, and stands between the run and its worker."""

    def __init__(self, chosen: dict[str, list[str]], log: Path):
        self.chosen, self.log, self.case = chosen, log, None

    def pytest_runtest_setup(self, item) -> None:
        if hasattr(item, "callspec"):  # a gate, not a test of the team's own
            self.case = "-".join(item.callspec.params["int8_case"])

    def between(self, run: Callable) -> Callable:
        """`Worker.run`, with the faults."""

        def faulty(worker, function, /, *arguments, **named):
            function = resolve(function) if isinstance(function, str) else function
            is_first = self._note(function, arguments)
            stage, fault = self.chosen.get(self.case, (None, None))
            if function.__name__ == stage and fault == RUN:
                if is_first:
                    be_killed()
            elif function.__name__ == stage:
                function = Injected(function, fault)
            return run(worker, function, *arguments, **named)

        return faulty

    def _note(self, function: Callable, arguments: tuple) -> bool:
        """Writes the stage down; whether the case has it for the first time."""
        paths = [value for value in arguments if isinstance(value, Path)]
        entry = next((path.stem for path in paths if path.parent.name == ".building"), "-")
        begun = f"{self.case} {function.__name__} "
        with self.log.open("a+") as file:
            file.seek(0)
            known = file.read()
            file.write(f"{begun}{entry}\n")
        return begun not in known


def pytest_configure(config) -> None:
    from int8gate.engine.worker import Worker

    chosen = json.loads(os.environ.get("FAULTS", "{}"))
    injector = Injector(chosen, Path(os.environ["STAGES_LOG"]))
    config.pluginmanager.register(injector, "fault-injector")
    Worker.run = injector.between(Worker.run)
