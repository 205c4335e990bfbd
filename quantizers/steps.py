"""The way of a model's data to an artifact, as a list of steps in their order.

    samples -> exported network -> float artifact -> network inputs -> statistics -> trained float
    artifact -> quantized artifact -> named artifact

Each step is a function of what earlier ones left, whose keys belong to its own. A list holds what
an artifact needs and nothing else, and is run from its first step to its last: `run_steps`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from int8gate.engine.cache import SHARDS, CacheEntry, cache_key
from int8gate.quantizers.stage import Stage, StageRunner
from int8gate.runtimes.artifact import NETWORK_INPUTS, sample_file

# The names of steps.
CALIBRATION_SAMPLES, EXPORTED, FLOAT = "samples", "exported", "float"
INPUTS, STATISTICS, QUANTIZED, NAMED = "inputs", "statistics", "quantized", "named"
TRAINED = "trained"


GRACE = 4  # a budget is of seconds of computing: a core that others use gives them slowly


def after(step: str, remedies: tuple[str, ...]) -> str:
    """What a step is called of a float artifact that these remedies changed."""
    return "+".join((step, *remedies))


@dataclass(frozen=True)
class Step:
    """A stage of a case.

    `inputs` name the earlier steps that it reads, `parts` are what its key holds besides their keys
    and the code; `arguments` makes of their entries what the stage is called with.
    """

    name: str
    stage: Stage
    arguments: Callable[..., tuple]
    inputs: tuple[str, ...] = ()
    parts: dict | None = None

    def run(self, runner: StageRunner, done: dict[str, CacheEntry]) -> CacheEntry:
        entries = [done[name] for name in self.inputs]
        return runner.run(self.stage, self.key_parts(entries), lambda: self.arguments(*entries))

    def key_parts(self, entries: list[CacheEntry]) -> dict:
        """What the key holds, without the identity of the code."""
        keys = {"inputs": [entry.key for entry in entries]} if entries else {}
        return {**(self.parts or {}), **keys}


@dataclass(frozen=True)
class Drawn:
    """A step that only looks something up: samples, which `draw` prepares and checks."""

    name: str
    draw: Callable[[], CacheEntry]

    def run(self, runner: StageRunner, done: dict[str, CacheEntry]) -> CacheEntry:
        return self.draw()


@dataclass(frozen=True)
class Calibration(Step):
    """Finished shards are kept beside the cache's entries until the whole is done."""

    def run(self, runner: StageRunner, done: dict[str, CacheEntry]) -> CacheEntry:
        entries = [done[name] for name in self.inputs]
        parts = self.key_parts(entries)
        shards = runner.cache.root / SHARDS / cache_key({**parts, **self.stage.identity()})
        jobs = runner.settings.calibration_jobs
        collected = runner.run(self.stage, parts, lambda: (*self.arguments(*entries), shards, jobs))
        if not collected.hit:
            shutil.rmtree(shards, ignore_errors=True)
        return collected


@dataclass(frozen=True)
class Training(Step):
    """Its checkpoint is kept beside the cache's entries until it is done.

    `budget_s` is what it may take besides the time of any stage.
    """

    budget_s: float = 0.0

    def run(self, runner: StageRunner, done: dict[str, CacheEntry]) -> CacheEntry:
        entries = [done[name] for name in self.inputs]
        parts = self.key_parts(entries)
        kept = runner.cache.root / SHARDS / cache_key({**parts, **self.stage.identity()})
        checkpoint = kept / "checkpoint.pt"
        runner.training = kept
        trained = runner.run(
            self.stage,
            parts,
            lambda: (*self.arguments(*entries), checkpoint),
            grace_s=GRACE * self.budget_s,
        )
        if not trained.hit:
            shutil.rmtree(kept, ignore_errors=True)
        return trained


def run_steps(steps: Iterable[Step | Drawn], runner: StageRunner) -> dict[str, CacheEntry]:
    """The cache entry of every step by name. Raises what the first step that fails raises."""
    done: dict[str, CacheEntry] = {}
    for step in steps:
        done[step.name] = step.run(runner, done)
    return done


def arrays_of(entry: CacheEntry) -> Path:
    """The file of calibration samples in an entry."""
    behind_the_host = entry.path / NETWORK_INPUTS
    return behind_the_host if behind_the_host.is_file() else sample_file(entry.path)
