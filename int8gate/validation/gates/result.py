"""What a gate says."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GateResult:
    """`status` as in the record's `gates`; `message` is for people.

    `is_narrow` of one that passed says that it did by less than the noise between runs: a declared
    exception of such a gate is not stale.
    """

    status: str
    message: str = ""
    is_narrow: bool = False


UNKNOWN_CAUSE = "not known: no figure of this run points to one place"


def with_origin(result: GateResult, sentence: str | None) -> GateResult:
    """A failure with what was measured along the graph: see `int8gate/validation/error_origin.py`.

    It takes the place of a cause that is not known, and stands beside one that is.
    """
    if result.status != "failed" or not sentence:
        return result
    cause = f"likely cause: {UNKNOWN_CAUSE}"
    if cause in result.message:
        return replace(result, message=result.message.replace(cause, f"likely cause: {sentence}"))
    before, next_line, command = result.message.partition("\nnext: ")
    return replace(result, message=f"{before}\nwhere: {sentence}{next_line}{command}")


def failed(measured: str, allowed: str, cause: str, next_command: str) -> GateResult:
    """A failure with the four things its reader needs."""
    return GateResult(
        "failed",
        f"measured: {measured}\nallowed: {allowed}\nlikely cause: {cause}\nnext: {next_command}",
    )
