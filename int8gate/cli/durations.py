"""Durations of the command line: `90`, `90s`, `5m`, `1h`, in seconds."""

from __future__ import annotations

import re

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Raises ValueError naming the text for one that is no duration above 0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is no duration: expected seconds, or such as 90s, 5m, 1h")
    return seconds
