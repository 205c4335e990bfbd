"""How a training goes: its budget, its rates and when it is looked at. Loads nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_BUDGET_S = 180.0
PROGRESS = "progress.txt"  # beside the checkpoint: the last line that a training said
# What looks at the validation part: looked up by name, for metrics stand in a room above.
JUDGE = "int8gate.validation.training_judge:Judge"


@dataclass(frozen=True)
class Schedule:
    """A training's settings.

    Rates are relative: a step changes weights by about `weight_rate` of their own size (RMS), and
    scales by about `scale_rate` of theirs. They warm up over `warm_up` of the progress and fall to
    zero by a cosine; scales stand still from `scales_until` on. Progress, 0 to 1, is the larger of
    the steps done and the seconds used, so that a budget shortens the schedule and does not cut it.

    Attributes
    ----------
    budget_s : seconds of training, its looks at the validation part included.
    steps : at most so many, of `batch` of the `samples` each.
    validation : samples of the validation part: what bounds of a drop of 1% take.
    looks : how often the validation part is looked at at most, beside the start.
    look_share : of the budget, what these looks may take, by what the first one took.
    patience : so many looks without a gain end it, where the tolerance is out of reach.
    label_share : of the loss, what labels have (`label_loss.py`); 0 trains towards the float
        network alone.
    checkpoint_s : seconds between checkpoints.
    threads : of PyTorch; with several, sums differ in their last bits from run to run, and Adam
        makes steps of such differences where gradients are next to nothing.
    """

    budget_s: float = DEFAULT_BUDGET_S
    steps: int = 2000
    batch: int = 16
    samples: int = 3000
    validation: int = 1000
    weight_rate: float = 2e-4
    scale_rate: float = 1e-3
    warm_up: float = 0.05
    scales_until: float = 0.8
    looks: int = 4
    look_share: float = 0.3
    patience: int = 3
    largest_gradient: float = 1.0
    label_share: float = 0.0
    checkpoint_s: float = 20.0
    seed: int = 1
    threads: int = 1

    def progress(self, step: int, seconds: float) -> float:
        return min(1.0, max(step / self.steps, seconds / self.budget_s))

    def looks_of(self, seconds: float) -> int:
        """How often to look, beside the start, where one look takes so long: once at least."""
        if seconds <= 0:
            return self.looks
        return max(1, min(self.looks, int(self.look_share * self.budget_s / seconds)))

    def factor(self, progress: float) -> float:
        """Of the rates: 0 to 1 over the warm-up, then down to 0."""
        if progress < self.warm_up:
            return max(progress, 0.02 * self.warm_up) / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up)))
