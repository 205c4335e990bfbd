"""The training loop: a fake-quantized network towards the float one, looked at as it goes.

It starts from what calibration found and keeps the best that it saw, by the drop of the validation
part: what it ends with is never worse there than what it started with. What it did so far is kept
in a checkpoint, from which it goes on after a kill.
"""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from int8gate.engine import atomic_file
from int8gate.quantizers.training.distillation import class_axes, distillation_loss
from int8gate.quantizers.training.fake_quantized import FakeQuantized
from int8gate.quantizers.training.label_loss import LabelLoss
from int8gate.quantizers.training.training_schedule import Schedule

PASSED, BUDGET, STEPS = "within tolerance", "the budget ended", "all steps are done"
ENOUGH = 0.5  # of the tolerance: the validation part is not what is judged in the end
KEPT_TEACHER_BYTES = 4e8


@dataclass(frozen=True)
class Look:
    """What the validation part says at a step: the drop of the metric from float, its one-sided 95%
    bounds and the tolerance; None where nothing is scored. `loss` is the distillation's there.
    The lower bound is None, too, where the drop is within the tolerance. `is_whole` is False where
    a first part of the samples said that it is not the best (`validation_part.py`): it ends
    nothing by passing, and is never the best.
    """

    step: int
    seconds: float
    loss: float
    drop: float | None = None
    drop_upper_95: float | None = None
    drop_lower_95: float | None = None
    tolerance: float | None = None
    samples: int | None = None
    is_whole: bool = True

    def is_better_than(self, other: Look) -> bool:
        """Of two that were looked at as a whole; what a part says is never better."""
        return self.is_whole and self.rank < other.rank

    @property
    def passes(self) -> bool:
        return self._is_within(1.0)

    @property
    def is_enough(self) -> bool:
        """Whether there is room for other samples to say something else."""
        return self._is_within(ENOUGH)

    def _is_within(self, share: float) -> bool:
        upper, tolerance = self.drop_upper_95, self.tolerance
        if not self.is_whole or upper is None or tolerance is None:
            return False
        return bool(upper <= share * tolerance)

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the drop is beyond the tolerance for certain."""
        return (
            self.drop_lower_95 is not None
            and self.tolerance is not None
            and self.drop_lower_95 > self.tolerance
        )

    @property
    def rank(self) -> tuple[float, float]:
        """Less is better."""
        return (self.loss if self.drop is None else self.drop, self.loss)


@dataclass
class Course:
    """How a training went. `losses` are (step, mean since the last one)."""

    looks: list[Look] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    ending: str = ""
    step: int = 0
    seconds: float = 0.0
    best: int = 0  # number of a look
    first_look_s: float = 0.0  # what it took

    def as_record(self) -> dict:
        return {
            "ending": self.ending,
            "is_within_tolerance": self.looks[self.best].passes,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "best_step": self.looks[self.best].step,
            "looks": [asdict(look) for look in self.looks],
            "losses": [[step, loss] for step, loss in self.losses],
        }


class Training:
    """One training of `network` towards `teacher`.

    `inputs(rows)` gives the tensors (n, ...) of training samples, of which there are `count`;
    `look(network)` looks at the validation part and gives the fields of a `Look` but step and
    seconds. `first` is such a `Look` at the network as it begins, and the seconds that it took.
    `checkpoint` is a file that is written as it goes. `label_loss` has the schedule's
    `label_share` of the loss.
    """

    def __init__(
        self,
        network: FakeQuantized,
        teacher: FakeQuantized,
        inputs: Callable[[np.ndarray], list],
        count: int,
        look: Callable[[FakeQuantized], dict],
        schedule: Schedule,
        checkpoint: Path,
        classes: int | None = None,
        progress: Callable[[str], None] = lambda line: None,
        first: tuple[Look, float] | None = None,
        label_loss: LabelLoss | None = None,
    ) -> None:
        self.network, self.teacher, self.inputs, self.count = network, teacher, inputs, count
        self._look, self.schedule, self.checkpoint = look, schedule, checkpoint
        self.classes, self.progress, self._first = classes, progress, first
        self._label_loss = label_loss
        self.course, self._best = Course(), copy.deepcopy(network.state_dict())
        self._ends = network.graph.ends(), teacher.graph.ends()
        self._optimizer = torch.optim.Adam(self._groups())
        self._taught: dict[int, list] = {}
        self._kept_bytes = 0.0

    def run(self) -> Course:
        """Trains to the end; the network has the best weights and scales then."""
        self._resume()
        course, schedule = self.course, self.schedule
        if not course.looks:
            began = seconds_used()
            self._see(self._first and self._first[0])
            course.first_look_s = seconds_used() - began + (self._first[1] if self._first else 0.0)
            course.seconds += course.first_look_s
            self._end(0.0)
        looks = schedule.looks_of(course.first_look_s)
        saved, since = seconds_used(), []
        while not course.ending:
            began = seconds_used()
            progress = schedule.progress(course.step, course.seconds)
            due = (math.floor(progress * looks + 1e-9) + 1) / looks
            while not course.ending and progress < min(due, 1.0):
                loss = self._step(progress)
                if not math.isfinite(loss):
                    course.ending = self._diverged(loss)
                    break
                since.append(loss)
                course.step += 1
                now = seconds_used()
                course.seconds += now - began
                began = now
                progress = schedule.progress(course.step, course.seconds)
                if now - saved > schedule.checkpoint_s:
                    self._save()
                    saved = seconds_used()
            if course.ending:
                break
            course.losses.append((course.step, float(np.mean(since))))
            since = []
            self._see()
            course.seconds += seconds_used() - began
            self._end(progress)
            self._save()
            saved = seconds_used()
        self.network.load_state_dict(self._best)
        return course

    def _groups(self) -> list[dict]:
        """Each constant by its own size: those behind a folded normalization differ by decades."""
        groups = [
            {"params": [weights], "rate": self.schedule.weight_rate * _size(weights)}
            for weights in self.network.weights
        ]
        scales = {"params": [self.network.log_scales], "rate": self.schedule.scale_rate}
        return [{**group, "lr": 0.0} for group in (*groups, {**scales, "are_scales": True})]

    def _step(self, progress: float) -> float:
        schedule, network = self.schedule, self.network
        factor = schedule.factor(progress)
        for group in self._optimizer.param_groups:
            stands = group.get("are_scales") and progress >= schedule.scales_until
            group["lr"] = 0.0 if stands else group["rate"] * factor
        rows = self._rows(self.course.step)
        tensors = self.inputs(rows)
        of_labels = self._label_loss.tensors if self._label_loss else ()
        values = network(*tensors, tensors=(*self._ends[0], *of_labels))
        found, labelled = values[: len(self._ends[0])], values[len(self._ends[0]) :]
        wanted = self._wanted(rows, tensors)
        axes = class_axes([output.shape for output in wanted], self.classes)
        loss = distillation_loss(found, wanted, axes)
        if self._label_loss:
            share = schedule.label_share
            loss = (1 - share) * loss + share * self._label_loss(labelled, rows)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.largest_gradient)
        if torch.isfinite(loss):
            self._optimizer.step()
        return float(loss.detach())

    def _rows(self, step: int) -> np.ndarray:
        """The samples of a step: each once an epoch, in an order that the seed gives."""
        batch = min(self.schedule.batch, self.count)
        per_epoch = self.count // batch
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([self.schedule.seed, epoch]).permutation(self.count)
        return order[place * batch : (place + 1) * batch]

    def _wanted(self, rows: np.ndarray, tensors: list) -> list:
        """The float network's outputs, kept where memory allows: an epoch asks for them again."""
        if all(int(row) in self._taught for row in rows):
            known = [self._taught[int(row)] for row in rows]
            return [torch.stack(column) for column in zip(*known, strict=True)]
        with torch.no_grad():
            found = self.teacher(*tensors, tensors=self._ends[1])
        if self._kept_bytes < KEPT_TEACHER_BYTES:
            for place, row in enumerate(rows):
                self._taught[int(row)] = [output[place].clone() for output in found]
            self._kept_bytes += sum(output.numel() * output.element_size() for output in found)
        return found

    def _see(self, look: Look | None = None) -> None:
        """Looks at the validation part; keeps the network where it is the best so far."""
        course = self.course
        if look is None:
            with torch.no_grad():
                look = Look(course.step, round(course.seconds, 2), **self._look(self.network))
        course.looks.append(look)
        if len(course.looks) == 1 or look.is_better_than(course.looks[course.best]):
            course.best = len(course.looks) - 1
            self._best = copy.deepcopy(self.network.state_dict())
        self.progress(self._told(look))

    def _end(self, progress: float) -> None:
        course, look = self.course, self.course.looks[-1]
        recent = course.looks[-self.schedule.patience :]
        if not math.isfinite(look.loss):
            course.ending = self._diverged(look.loss)
        elif look.is_enough:
            course.ending = PASSED
        elif (
            len(course.looks) > self.schedule.patience
            and course.best < len(course.looks) - self.schedule.patience
            and all(each.is_out_of_reach for each in recent)
        ):
            course.ending = (
                f"out of reach: the drop is beyond the tolerance for certain, and {len(recent)} "
                "looks brought nothing"
            )
        elif progress >= 1:
            course.ending = STEPS if course.step >= self.schedule.steps else BUDGET

    def _diverged(self, loss: float) -> str:
        return (
            f"the loss became {loss} at step {self.course.step}: the rates are too high (weights "
            f"{self.schedule.weight_rate:g}, scales {self.schedule.scale_rate:g}); what was best "
            "before is kept"
        )

    def _told(self, look: Look) -> str:
        schedule, course = self.schedule, self.course
        progress = schedule.progress(course.step, course.seconds)
        left = course.seconds * (1 - progress) / progress if progress else schedule.budget_s
        drop = "" if look.drop is None else f", drop {look.drop:.4g}"
        upper = "" if look.drop_upper_95 is None else f" (at most {look.drop_upper_95:.4g})"
        allowed = "" if look.tolerance is None else f" of {look.tolerance:.4g} allowed"
        part = "" if look.is_whole else f" on the first {look.samples} samples, not the best"
        return (
            f"step {course.step}: loss {look.loss:.4g}{drop}{upper}{allowed}{part}, at most "
            f"{left:.0f} s to go"
        )

    def _save(self) -> None:
        content = io.BytesIO()
        course = self.course
        torch.save(
            {
                "network": self.network.state_dict(),
                "best": self._best,
                "optimizer": self._optimizer.state_dict(),
                "course": {**asdict(course)},
            },
            content,
        )
        atomic_file.write(self.checkpoint, content.getvalue())

    def _resume(self) -> None:
        """Goes on from the checkpoint, if there is one that can be read."""
        try:
            kept = torch.load(self.checkpoint, weights_only=True)
            course = kept["course"]
            looks = [Look(**look) for look in course.pop("looks")]
            losses = [tuple(pair) for pair in course.pop("losses")]
            self.network.load_state_dict(kept["network"])
            self._optimizer.load_state_dict(kept["optimizer"])
        except FileNotFoundError:
            return
        except Exception as error:  # of a damaged file anything
            self.progress(f"the checkpoint cannot be read ({error}): from the start")
            return
        self.course, self._best = Course(looks=looks, losses=losses, **course), kept["best"]
        self.progress(f"goes on from step {self.course.step}")


def seconds_used() -> float:
    """Seconds of computing: waiting for a core that others use does not count."""
    return time.process_time() / max(1, torch.get_num_threads())


def _size(weights) -> float:
    """The root of the mean square of a constant, where it has one."""
    size = float(weights.detach().square().mean().sqrt())
    return size if size > 0 else 1e-3
