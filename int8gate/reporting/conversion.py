"""What became of each model's conversion: the cases of a model merged into one row.

From the records' `conversion` alone:
`{"status": "converted" | "not_converted" | "not_applicable", "how": str, "repairs": [str],
"cut": [str], "nodes": {"source": int, "network": int, "preprocessing": int, "postprocessing": int}
or null, "left": [str], "log": str or null}`, or null where nothing was told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from int8gate.reporting.fields import DASH, dig, text
from int8gate.reporting.rows import CaseRow

CONVERTED, NOT_CONVERTED, NOT_APPLICABLE = "converted", "not converted", "not applicable"
_STATUS = {
    status.replace(" ", "_"): status for status in (CONVERTED, NOT_CONVERTED, NOT_APPLICABLE)
}
_NODES = {
    "source": "in the source",
    "network": "in the network",
    "preprocessing": "before it, for the host",
    "postprocessing": "behind it, for the host",
}


@dataclass(frozen=True)
class Told:
    """A sentence and the recipes that it holds for, "" where it holds for all of the model's."""

    recipes: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.recipes}: {self.sentence}" if self.recipes else self.sentence


@dataclass(frozen=True)
class Conversion:
    """A model's row, `converted` and `failed` being recipes.

    `how` are the routes that gave an artifact, `why_not` the reasons of those that did not, `left`
    what is still to be done or to be known.
    """

    model: str
    source: str
    status: str
    how: tuple[Told, ...]
    why_not: tuple[Told, ...]
    repairs: tuple[Told, ...]
    cut: tuple[Told, ...]
    nodes: tuple[Told, ...]
    notes: tuple[Told, ...]
    left: tuple[Told, ...]
    converted: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def changes(self) -> tuple[Told, ...]:
        """What was done to the model before it converted: repaired, cut, so many nodes."""
        return self.repairs + self.cut + self.nodes


def conversions(rows: list[CaseRow]) -> list[Conversion]:
    """A row for each model, in the order of `rows`; none where no record tells of a conversion."""
    if not any(row.record.get("conversion") for row in rows):
        return []
    return [_merged(name, list(group)) for name, group in groupby(rows, key=lambda row: row.model)]


def _merged(model: str, rows: list[CaseRow]) -> Conversion:
    by_status = {
        status: [row for row in rows if _status(row) == status] for status in _STATUS.values()
    }
    converted, failed = by_status[CONVERTED], by_status[NOT_CONVERTED]
    all_of = converted or failed

    def listed(field: str) -> tuple[Told, ...]:
        return _grouped(rows, lambda row: dig(row.record, "conversion", field) or (), all_of)

    inapplicable = _grouped(by_status[NOT_APPLICABLE], lambda _: ("does not apply to this model",))
    return Conversion(
        model=model,
        source=_source(rows),
        status=_overall(by_status),
        how=_grouped(converted, lambda row: (_how(row),)),
        why_not=_grouped(failed, lambda row: (_why_not(row),)),
        repairs=listed("repairs"),
        cut=listed("cut"),
        nodes=_grouped(rows, _nodes, all_of),
        notes=_grouped(rows, lambda row: row.notes, rows),
        left=listed("left") + inapplicable,
        converted=tuple(row.recipe for row in converted),
        failed=tuple(row.recipe for row in failed),
    )


def _source(rows: list[CaseRow]) -> str:
    formats = dict.fromkeys(row.record.get("source_format") for row in rows)
    return " or ".join(str(each) for each in formats if each) or DASH


def _status(row: CaseRow) -> str | None:
    return _STATUS.get(dig(row.record, "conversion", "status"))


def _overall(by_status: dict[str, list[CaseRow]]) -> str:
    """Converted only where every case that told of it and that it applies to was."""
    for status in (NOT_CONVERTED, CONVERTED, NOT_APPLICABLE):
        if by_status[status]:
            return status
    return DASH


def _how(row: CaseRow) -> str:
    return text(dig(row.record, "conversion", "how"))


def _why_not(row: CaseRow) -> str:
    """What the gate said that met the failure, and where the converter's log is."""
    said = [
        row.messages[gate]
        for gate, state in row.gates.items()
        if state == "error" and gate in row.messages
    ]
    reason = said[0].splitlines()[0] if said else row.reason or "no reason was recorded"
    reason = re.sub(r"^[a-z_]+(, [a-z_]+)*: ", "", reason)  # the gates that met it
    log = dig(row.record, "conversion", "log")
    return reason if not log or str(log) in reason else f"{reason} Full log: {log}"


def _nodes(row: CaseRow) -> tuple[str, ...]:
    counts = dig(row.record, "conversion", "nodes") or {}
    known = [
        f"{counts[key]} {place}" for key, place in _NODES.items() if counts.get(key) is not None
    ]
    return (f"nodes: {', '.join(known)}",) if known else ()


def _grouped(
    rows: list[CaseRow],
    sentences: Callable[[CaseRow], Iterable[str]],
    all_of: list[CaseRow] | None = None,
) -> tuple[Told, ...]:
    """Each distinct sentence once, with the recipes that say it unless `all_of` these do."""
    whole = {row.recipe for row in all_of or ()}
    recipes: dict[str, list[str]] = {}
    for row in rows:
        for sentence in dict.fromkeys(sentences(row)):
            recipes.setdefault(str(sentence), []).append(row.recipe)
    return tuple(
        Told("" if whole and whole <= set(who) else ", ".join(who), sentence)
        for sentence, who in recipes.items()
    )
