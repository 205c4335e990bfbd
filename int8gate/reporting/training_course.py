"""How a trained recipe was trained (the record's `training`), in words.

    {"ending": str, "is_within_tolerance": bool, "start": str, "steps": int, "seconds": float,
     "best_step": int, "losses": [[step, loss], ...],
     "looks": [{"step", "seconds", "loss", "drop", "drop_upper_95", "drop_lower_95", "tolerance",
                "samples", "is_whole"}],
     "agreement": {"samples": int, "share": float | null, "sqnr_db": float | null}}

Drops are those of the validation part of the training split, null where nothing is scored. `start`
is how the ranges were found that it began with: calibration's method, or "pixels".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from int8gate.reporting.fields import DASH, three_digits


def sentence(training: Mapping[str, Any]) -> str:
    """How it ended, what it took, and what the validation part says of its start and its best."""
    looks = training["looks"]
    best = next(look for look in looks if look["step"] == training["best_step"])
    told = (
        f"{training['steps']} steps in {training['seconds']:.0f} s, from {training['start']} "
        f"ranges: {training['ending']}"
    )
    alike = _alike(training.get("agreement"))
    if training["best_step"] == 0:
        return f"{told}; nothing was better than the start, which is kept ({_figures(best)}){alike}"
    return (
        f"{told}; validation part: {_figures(looks[0])} at the start, {_figures(best)} at step "
        f"{best['step']}, which is kept{alike}"
    )


def _alike(agreement: Mapping[str, Any] | None) -> str:
    """How what was trained and what the runtime computes agree; "" of an older record."""
    if agreement is None:
        return ""
    ratio, share = agreement["sqnr_db"], agreement["share"]
    told = "equal outputs" if ratio is None else f"SQNR {ratio:.0f} dB"
    answers = "" if share is None else f"{share:.2%} of the answers and "
    return f"; the runtime agrees with training in {answers}{told} ({agreement['samples']} samples)"


def lines(training: Mapping[str, Any]) -> list[str]:
    """A line for each look at the validation part."""
    return [
        f"step {look['step']}, {look['seconds']:.0f} s: {_figures(look)}"
        for look in training["looks"]
    ]


def _figures(look: Mapping[str, Any]) -> str:
    loss = f"loss {three_digits(look['loss'])}"
    if look["drop"] is None:
        return loss
    upper = DASH if look["drop_upper_95"] is None else f"{look['drop_upper_95']:.4g}"
    if not look.get("is_whole", True):
        loss += f", on the first {look['samples']} samples alone"
    return f"drop {look['drop']:.4g} (at most {upper} of {look['tolerance']:.4g}), {loss}"
