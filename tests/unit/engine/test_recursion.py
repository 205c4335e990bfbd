"""What a converter does to Python's limit of recursion ends with it."""

from __future__ import annotations

import sys

import pytest

from int8gate.engine.memory import recursion


def set_and_fail(within: int) -> None:
    with recursion(within):
        assert sys.getrecursionlimit() == within
        sys.setrecursionlimit(within - 1)
        raise ValueError("stops")


@pytest.mark.parametrize("within", [2000, 100_000, 2**31 - 1])
def test_the_limit_is_given_back(within):
    before = sys.getrecursionlimit()
    with pytest.raises(ValueError, match="stops"):
        set_and_fail(within)
    assert sys.getrecursionlimit() == before
