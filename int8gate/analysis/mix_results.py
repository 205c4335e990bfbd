"""What a search for mixed widths found: the layers, the winner's figures, how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from int8gate.analysis.confirm import Confirmed
from int8gate.quantizers.recipe_type import WIDTHS
from int8gate.targets.registry import find
from int8gate.validation.case_run import CaseRun
from int8gate.validation.noninferiority import NonInferiority
from int8gate.validation.speed import interleave


@dataclass(frozen=True)
class MixedLayer:
    """A layer that might have another width.

    `loss_share` is its part of the noise power of all layers that were measured in int8, `costs`
    by width what it adds between int8 neighbours; None where not measured, `note` says why it had
    no choice.
    """

    name: str
    loss_share: float | None
    costs: dict[str, float | None]
    width: str
    note: str = ""


@dataclass(frozen=True)
class Mixed:
    """What was found for a case.

    `cost_unit` is the objective's; `size_bytes` and `latency_ms` are by "int8", "mixed", "float32",
    latencies from runs in turn on this host, or on the target; there of float32 none. `widths` are
    those that were tried. `notes` are sentences.
    """

    case: str
    objective: str
    method: str
    target: str
    widths: tuple[str, ...]
    recipe: str
    metric: str
    cost_unit: str
    layers: tuple[MixedLayer, ...]
    other_layers: int
    on_search: NonInferiority | None
    on_confirmation: NonInferiority | None
    candidates: int
    is_confirmed: bool
    size_bytes: dict[str, int]
    latency_ms: dict[str, float]
    declaration: str
    ending: str
    notes: tuple[str, ...] = ()
    is_interrupted: bool = False

    def as_record(self) -> dict:
        """As plain values."""
        return asdict(self)


def sizes(base: CaseRun, winner: CaseRun) -> dict[str, int]:
    """Bytes of the artifacts, by the names of `Mixed.size_bytes`."""
    built = {"int8": base.built, "mixed": winner.built, "float32": base.float_built}
    return {name: each.artifact.size_bytes for name, each in built.items()}


def latencies(base: CaseRun, winner: CaseRun) -> dict[str, float]:
    """ms on this host: the mix by its own runs, the others by their ratios to it.

    Raises what the worker process raises.
    """
    own, found = winner.built.artifact.path, {}
    for name, other in (("int8", base.built), ("float32", base.float_built)):
        timed = base.in_worker(interleave, other.artifact.path, own)
        found.setdefault("mixed", float(np.median(timed.quantized_s)) * 1e3)
        found[name] = found["mixed"] * timed.speedup
    return found


def latencies_on_target(base: CaseRun, winner: CaseRun, target: str, core: str) -> dict[str, float]:
    """ms on a target, with what it leaves to the CPU; nothing where it tells none.

    Raises what compiling raises.
    """
    found = {
        name: run.npu_entry(find(target), core).get("latency_ms")
        for name, run in (("int8", base), ("mixed", winner))
    }
    return {name: ms for name, ms in found.items() if ms is not None}


def told_widths(wide: Mapping[str, str]) -> str:
    """So many layers by width, in words."""
    counts = Counter(wide.values())
    told = [
        f"{counts[width]} layer{'s' * (counts[width] > 1)} in {width}"
        for width in WIDTHS
        if counts[width]
    ]
    return " and ".join(told) or "all layers in int8"


def ending(begin: str, name: str, what: str, confirmed: Confirmed | None) -> str:
    """A sentence on the mix of that name, in which `what` has other widths."""
    if confirmed is None:
        return f"{begin}{name}, {what}, which no test has judged: called again it goes on"
    return f"{begin}{confirmed.sentence}; {what}"
