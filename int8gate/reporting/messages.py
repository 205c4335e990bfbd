"""What the gates of a case say, in parts: the figures first, each sentence once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from int8gate.reporting.rows import CaseRow

PART = re.compile(r"^(measured|allowed|likely cause|where|next): ", re.MULTILINE)
SETTLED = ("passed", "recorded", "unsupported", None)


@dataclass(frozen=True)
class Finding:
    """One message, the gates that it came from, and its labelled parts in order; text without a
    label stands under "".
    """

    gates: tuple[str, ...]
    state: str
    parts: tuple[tuple[str, str], ...]


def findings(row: CaseRow) -> list[Finding]:
    """What stands against a case, in the order of its gates; a message of several gates once."""
    by_message: dict[tuple[str, str], list[str]] = {}
    for gate, state in row.gates.items():
        if state not in SETTLED:
            by_message.setdefault((state, row.messages.get(gate) or row.reason), []).append(gate)
    found = [
        Finding(tuple(gates), state, parts_of(message))
        for (state, message), gates in by_message.items()
    ]
    return found or [Finding((), row.verdict, parts_of(row.reason))]


def parts_of(message: str) -> tuple[tuple[str, str], ...]:
    """`measured: a\\nallowed: b` as (("measured", "a"), ("allowed", "b"))."""
    pieces = PART.split(message)
    pairs = [("", pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
    return tuple((label, text.strip()) for label, text in pairs if text.strip())
