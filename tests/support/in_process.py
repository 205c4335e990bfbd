"""A worker without a process: for stages of our own code, which crash nothing."""

from __future__ import annotations

from int8gate.engine.plugins import resolve
from int8gate.engine.worker import TaskResult


class InProcess:
    """Runs each task where it is asked for it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.tasks: list[tuple] = []

    def run(self, function, /, *arguments, timeout_s, log=None):
        self.tasks.append((function, arguments))
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
        call = resolve(function) if isinstance(function, str) else function
        return TaskResult(call(*arguments), 0.0, None)

    def close(self) -> None:
        pass
