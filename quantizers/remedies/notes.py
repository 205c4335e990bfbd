"""What a remedy left alone, in words for the record."""

from __future__ import annotations

from collections.abc import Sequence

TOLD = 3  # layers that a note names
LONGEST_NAME = 40  # characters: converters join the names of modules


def left_alone(layers: Sequence[tuple[str, str]]) -> str:
    """The end of a sentence on layers (name, reason); empty where there are none."""
    if not layers:
        return ""
    told = ", ".join(f"{_short(name)} ({reason})" for name, reason in layers[:TOLD])
    more = f", and {len(layers) - TOLD} more" if len(layers) > TOLD else ""
    return f"; left alone: {told}{more}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"
