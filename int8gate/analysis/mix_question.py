"""What a search for mixed widths is asked: checked, with the widths that single layers may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from int8gate.analysis.search import METHODS
from int8gate.engine.errors import instead
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import FLOAT32, INT4, WIDTHS
from int8gate.targets.registry import HOST, check_target, find
from int8gate.targets.target import SIMULATED
from int8gate.validation.case_run import CaseRun

SIZE, LATENCY = "size", "latency"
OBJECTIVES = {LATENCY: "ms", SIZE: "bytes"}  # and their units
LAYERS = 12


@dataclass(frozen=True)
class MixQuestion:
    """`layers` of those that lose most may have one of the `widths`, the narrowest first, so that
    the `objective` is least: latency on the `target` (beside an ARM `core` that takes what it
    leaves over), or size. Where int4 is one of them, as many others may have it. `method` is a
    search's.
    """

    objective: str = LATENCY
    method: str = "integer"
    layers: int = LAYERS
    target: str = HOST
    core: str = "Cortex-A55"
    widths: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        return OBJECTIVES[self.objective]


def checked(run: CaseRun, asked: MixQuestion) -> MixQuestion:
    """The question with the widths that are tried, where it names none.

    On the host's latency that is float32: others are converted to it there (float16), or run on
    reference kernels (int16). Raises ValueError in a sentence for what cannot be mixed.
    """
    if asked.objective not in OBJECTIVES:
        raise ValueError(
            f"no objective {asked.objective!r}: {instead(asked.objective, OBJECTIVES)}"
        )
    if asked.method not in METHODS:
        raise ValueError(f"no search method {asked.method!r}: {instead(asked.method, METHODS)}")
    if asked.layers < 1:
        raise ValueError(f"{asked.layers} layers: expected one or more that may have other widths")
    check_target(asked.target)
    recipe, offered = run.recipe, run.plan.toolchain.widths
    if not recipe.is_calibrated or not offered:
        raise ValueError(
            f"{run.case_id}: {recipe.name} has no layers that may have other widths: choose an "
            "int8 recipe of onnx or tflite, such as onnx_int8"
        )
    taken = _taken(run, asked, offered)
    for width in asked.widths:
        if width not in taken:
            raise ValueError(
                f"no width {width!r} for {run.case_id} on {asked.target}: {instead(width, taken)}"
            )
    if why := run.scoring.unscored_reason:
        raise ValueError(f"{run.case_id} cannot be mixed, as no candidate can be judged: {why}")
    chosen = asked.widths or taken
    if not asked.widths and asked.target == HOST and asked.objective == LATENCY:
        chosen = [width for width in taken if width == FLOAT32] or taken
    widths = tuple(width for width in WIDTHS if width in chosen)
    return MixQuestion(
        asked.objective, asked.method, asked.layers, asked.target, asked.core, widths
    )


def candidates(
    listed: Sequence[Layer], asked: MixQuestion
) -> tuple[list[Layer], dict[tuple[str, str], str]]:
    """The layers that may have other widths, of those `listed` with the worst first, and by (layer,
    width) in a sentence why one of the asked widths is not tried.

    First come those that lose most, then, for int4 alone, those that have most weights. One of the
    list is left at least: what is wide as a whole is no mix.
    """
    most = min(asked.layers, len(listed) - 1)
    worst, left = list(listed[:most]), list(listed[most:])
    able = [layer for layer in left if INT4 in layer.widths and INT4 in asked.widths]
    heaviest = sorted(able, key=lambda layer: -layer.weights)[: min(most, len(left) - 1)]
    why_not = {
        (layer.name, width): "it is not among the layers that lose most (--layers)"
        for layer in heaviest
        for width in asked.widths
        if width != INT4
    }
    why_not |= {
        (layer.name, width): f"{layer.kind} has no {width} form in this toolchain"
        for layer in worst
        for width in asked.widths
        if width not in layer.widths
    }
    return worst + heaviest, why_not


def _taken(run: CaseRun, asked: MixQuestion, offered: tuple[str, ...]) -> list[str]:
    """The widths that toolchain and target have."""
    if asked.target == HOST:
        return list(offered)
    target, case = find(asked.target), run.case_id
    if target.format != run.recipe.toolchain:
        raise ValueError(
            f"{target.name} takes {target.format} files, and {case} is of {run.recipe.toolchain}: "
            f"name {HOST} or a target of its format"
        )
    if target.kind == SIMULATED and asked.objective == LATENCY:
        raise ValueError(
            f"{target.name} is simulated and tells no latency: choose --objective {SIZE}, or "
            f"--target {HOST}"
        )
    taken = [width for width in offered if width in target.widths]
    if not taken:
        raise ValueError(
            f"{target.name} takes no mixed widths: try int8gate rescue {case} --target "
            f"{target.name}, whose other remedies leave all int8"
        )
    return taken
