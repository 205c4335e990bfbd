"""What a search may take: seconds, steps, verifications; and the clock that methods spend it by."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

Improvements = Generator[np.ndarray, None, bool]  # better and better; whether the last is optimal


@dataclass(frozen=True)
class Budget:
    """What a search may take; None is no limit.

    `steps` are those of a method: a neighbourhood, a generation, a layer, a solved program. They
    give the same result on every machine, seconds do not. `verifications` are calls of `verify`.
    """

    seconds: float | None = None
    steps: int | None = None
    verifications: int | None = None


NO_LIMIT = Budget()


class BudgetOver(Exception):
    """The budget is spent: caught in `search`."""


class Clock:
    """What is left of a budget; methods call `spend` before each step."""

    def __init__(self, budget: Budget):
        self._budget, self._started = budget, time.monotonic()
        self.steps = 0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Infinite without a limit."""
        limit = self._budget.seconds
        return np.inf if limit is None else limit - self.seconds

    @property
    def is_over(self) -> bool:
        limit = self._budget.steps
        return self.seconds_left <= 0 or (limit is not None and self.steps >= limit)

    def spend(self) -> None:
        """Counts a step. Raises BudgetOver where none is left."""
        if self.is_over:
            raise BudgetOver
        self.steps += 1
