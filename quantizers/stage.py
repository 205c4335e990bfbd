"""`Stage`: a function that makes something of files, in the worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from int8gate.engine import code_identity


@dataclass(frozen=True)
class Stage:
    """A function, and what it looks up by name: functions (``module:name``), packages.

    It writes into the directory that is its last argument. Which code a result depends on follows
    from the function: nothing is listed but what no import names.
    """

    kind: str
    function: Callable
    named: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """What reaches all the code that the result depends on."""
        return (f"{self.function.__module__}:{self.function.__name__}", *self.named)

    def identity(self) -> dict:
        """What a cache key holds of the code, ours, a user's and that of libraries."""
        return code_identity.identity(*self.roots)
