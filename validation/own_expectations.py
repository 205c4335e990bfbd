"""What an own model's declaration changes of the expectations: its table `expect`."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from validation import expectations
from validation.expectations import Expectations
from validation.known_failures import known_failures


def with_own(expected: Expectations, entry: dict, where: str) -> Expectations:
    """The expectations with `entry` over them; raises ValueError naming what is wrong with it."""
    expectations.check_entry(where, entry)
    known = {**expected.known_failures, **known_failures(entry.get("unsupported", {}))}
    told = MappingProxyType({gate: str(each) for gate, each in known.items()})
    given = entry | {"unsupported": told}
    return replace(expected, **given, known_failures=MappingProxyType(known))
