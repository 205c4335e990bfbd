"""What a gate says."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GateResult:
    """`status` as in the record's `gates`; `message` is for people.

    `is_narrow` says that a declared exception of the gate is not stale: it passed by less than the
    noise between runs, or was recorded where it cannot be judged.
    """

    status: str
    message: str = ""
    is_narrow: bool = False


WORST = 3  # layers that a message names
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


def with_way_out(result: GateResult, operators: list[dict], command: str) -> GateResult:
    """A result that did not pass, with the layers that lose most and what looks for a remedy.

    `operators` are those of the record's `error_origin`, the one with the largest fall first.
    """
    if result.status not in ("failed", "inconclusive"):
        return result
    worst = ", ".join(
        f"{row['operator']} ({_first_name(row)}, {row['fall_db']:.0f} dB)"
        for row in operators[:WORST]
    )
    lines = [f"worst layers: {worst}"] * bool(worst) + [f"rescue: {command}"]
    return replace(result, message="\n".join((result.message, *lines)))


def _first_name(row: dict) -> str:
    """Of the names that a converter joined; rules match each of them."""
    return (row["name"] or row["tensor"]).partition(";")[0]


def failed(measured: str, allowed: str, cause: str, next_command: str) -> GateResult:
    """A failure with the four things its reader needs."""
    return GateResult(
        "failed",
        f"measured: {measured}\nallowed: {allowed}\nlikely cause: {cause}\nnext: {next_command}",
    )
