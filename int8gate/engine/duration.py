"""Times as people write them: 90s, 2m, 1h."""

from __future__ import annotations

import re

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """The seconds of a time; a number alone is seconds. Raises ValueError for another text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found:
        raise ValueError("expected a time such as 90s, 2m or 1h")
    return float(found[1]) * SECONDS[found[2]]
