"""What a gate says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateResult:
    """`status` as in the record's `gates`; `message` is for people."""

    status: str
    message: str = ""


def failed(measured: str, allowed: str, cause: str, next_command: str) -> GateResult:
    """A failure with the four things its reader needs."""
    return GateResult(
        "failed",
        f"measured: {measured}\nallowed: {allowed}\nlikely cause: {cause}\nnext: {next_command}",
    )
