"""Looks at the validation part: what it says of a network on the way, and of the file that ships.

A look goes in two stages. The first part of the samples is looked at first; where it says, in
pairs on the same samples, that the network is no better than the best one so far, neither by the
loss nor by the metric, the rest would not change which one is best, and is left out. What is kept
in the end, and what ends a training early because it passes, was looked at as a whole: a part says
at most that the tolerance is out of reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.quantizers.training.training_samples import TrainingSamples

if TYPE_CHECKING:
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

FIRST = 250  # samples of the first stage
COMPARED = 400  # samples on which fake quantization and the runtime are compared
Rank = tuple[float, float]


@dataclass(frozen=True)
class _Seen:
    """Losses of batches and rows (n, k) of the metric, of the first so many samples."""

    losses: list[float]
    rows: np.ndarray

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses))

    def first(self, batches: int, samples: int) -> _Seen:
        return _Seen(self.losses[:batches], self.rows[:samples])


class Validation:
    """Called with a network, gives the fields of a `Look`; it remembers the best one's."""

    def __init__(
        self,
        judge,
        samples: TrainingSamples,
        teacher: FakeQuantized,
        classes: int | None,
        batch: int,
        first: int = FIRST,
    ) -> None:
        self._judge, self._samples, self._batch = judge, samples, 2 * batch
        self._classes = classes
        self._teacher, self._taught = teacher, []
        self._float: np.ndarray | None = None
        self._first = -(-first // self._batch)  # batches
        self._best: _Seen | None = None
        self._best_rank: Rank = (np.inf, np.inf)

    def __call__(self, network: FakeQuantized) -> dict:
        """Raises nothing for outputs that are not finite: their loss says so."""
        import torch

        with torch.no_grad():
            if self._float is None:
                self._float = self._judge.statistics(self._float_batches())
            batches = list(self._samples.validation(self._batch))
            seen = self._seen(network, batches[: self._first], 0)
            if not np.isfinite(seen.loss):
                return {"loss": seen.loss}
            if len(batches) > self._first and not self._may_be_best(seen):
                return {**self._fields(seen), "is_whole": False}
            rest = self._seen(network, batches[self._first :], self._first)
        whole = _Seen([*seen.losses, *rest.losses], np.concatenate([seen.rows, rest.rows]))
        if not np.isfinite(whole.loss):
            return {"loss": whole.loss}
        fields = self._fields(whole)
        rank = fields.get("drop", whole.loss), whole.loss
        if rank < self._best_rank:
            self._best, self._best_rank = whole, rank
        return fields

    def _may_be_best(self, seen: _Seen) -> bool:
        """Whether a first part is better than that of the best so far, by loss or metric."""
        if self._best is None or self._float is None:
            return True
        best = self._best.first(len(seen.losses), len(seen.rows))
        of_float = self._float[: len(seen.rows)]
        drops = (self._judge.drop(of_float, each.rows) for each in (seen, best))
        ours, theirs = ((each.loss, drop) for each, drop in zip((seen, best), drops, strict=True))
        return ours[0] < theirs[0] or (ours[1] is not None and ours[1] < theirs[1])

    def agreement(self, network: FakeQuantized, run: Callable, file: Path) -> dict:
        """How fake quantization and the runtime agree on `file`, for the record.

        `run(file, samples)` gives what the runtime makes of samples (n, ...) of each input.
        """
        import torch

        compared, noise, power, count = [], 0.0, 0.0, 0
        for rows, _ in self._samples.validation(self._batch):
            tensors = self._samples.inputs(rows, network.graph.shapes)
            with torch.no_grad():
                ours = [each.numpy() for each in network(*tensors)]
            real = run(file, self._samples.real(rows))
            theirs = [each.reshape(o.shape) for each, o in zip(real, ours, strict=True)]
            compared.append((self._samples.prepared(rows), ours, theirs))
            for one, other in zip(theirs, ours, strict=True):
                noise += float(np.square(one - other, dtype=np.float64).sum())
                power += float(np.square(one, dtype=np.float64).sum())
            count += len(rows)
            if count >= COMPARED:
                break
        share = self._judge.agreement(compared)
        ratio = 10 * np.log10(power / noise) if noise and power else None
        return {"samples": count, "share": share, "sqnr_db": ratio and float(ratio)}

    def _fields(self, seen: _Seen) -> dict:
        assert self._float is not None
        compared = self._judge.compare(self._float[: len(seen.rows)], seen.rows)
        return {"loss": seen.loss, "samples": len(seen.rows), **compared}

    def _float_batches(self) -> Iterator:
        graph = self._teacher.graph
        for rows, labels in self._samples.validation(self._batch):
            tensors = self._samples.inputs(rows, graph.shapes)
            found = self._teacher(*tensors, tensors=(*graph.outputs, *graph.ends()))
            outputs, ends = found[: len(graph.outputs)], found[len(graph.outputs) :]
            self._taught.append(ends)
            yield self._samples.prepared(rows), [each.numpy() for each in outputs], labels

    def _seen(self, network: FakeQuantized, batches: list, first: int) -> _Seen:
        """What batches say, the first of which has that number."""
        losses: list[float] = []
        if not batches:
            assert self._float is not None
            return _Seen([], self._float[:0])
        return _Seen(losses, self._judge.statistics(self._batches(network, batches, first, losses)))

    def _batches(
        self, network: FakeQuantized, batches: list, first: int, losses: list[float]
    ) -> Iterator:
        from int8gate.quantizers.training.distillation import class_axes, distillation_loss

        graph = network.graph
        for number, (rows, labels) in enumerate(batches, first):
            tensors = self._samples.inputs(rows, graph.shapes)
            found = network(*tensors, tensors=(*graph.outputs, *graph.ends()))
            outputs, ends = found[: len(graph.outputs)], found[len(graph.outputs) :]
            wanted = self._taught[number]
            axes = class_axes([each.shape for each in wanted], self._classes)
            losses.append(float(distillation_loss(ends, wanted, axes)))
            yield self._samples.prepared(rows), [each.numpy() for each in outputs], labels
