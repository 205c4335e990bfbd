"""Converters that lift Python's limit of recursion do so for themselves alone.

What reads a file later in the same process would overflow the stack where it is nested too deeply,
instead of a RecursionError.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def recursion(depth: int) -> Iterator[None]:
    """Up to `depth` calls deep within, and then as before, whatever is set within."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
