"""Durations of the command line: `90`, `90s`, `5m`, `1h`, in seconds."""

from __future__ import annotations

import re

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def budget_of(text: str) -> float:
    """The seconds of a `--budget`. Raises ValueError for a text that is no time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found:
        raise ValueError(f"--budget {text}: expected a time such as 90s, 2m or 1h")
    return float(found[1]) * SECONDS[found[2]]
