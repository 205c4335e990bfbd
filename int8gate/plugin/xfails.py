"""Gates that are declared not to hold: a strict `xfail` mark from collection on.

So `--collect-only -m xfail` lists them, and `--runxfail` judges them as if nothing was declared.
A mark expects `DeclaredUnsupported` alone: an error, an invalid case, an exception past its date
or one that works by now fail as they do without the mark.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from int8gate.engine.errors import plain_text
from int8gate.validation.expectations import CONVERSION, Expectations

if TYPE_CHECKING:
    from int8gate.validation.gates.result import GateResult


class DeclaredUnsupported(pytest.fail.Exception):
    """A gate does not hold, as its expectations declare; the message is the declared reason."""

    def __init__(self, reason: str):
        super().__init__(reason, pytrace=False)


def xfail_marks(expected: Expectations, gate: str) -> list[pytest.MarkDecorator]:
    """The mark of a gate's test, where its exception holds today."""
    reason = expected.unsupported.get(CONVERSION) or expected.unsupported.get(gate)
    if not reason or past_its_date(expected, gate):
        return []
    reason = plain_text(reason)
    return [pytest.mark.xfail(reason=reason, raises=DeclaredUnsupported, strict=True)]


def is_ignored(config: pytest.Config) -> bool:
    """Whether the command line asks to judge every gate as if nothing was declared of it."""
    return config.option.runxfail


def judged(result: GateResult, unsupported: str | None, where: str) -> tuple[str, str]:
    """Status and message of a gate; `unsupported` is why it is declared not to hold, if it is.

    A declared exception is strict: the day it works, it fails and asks to be taken out of `where`.
    What passes by less than the noise between runs does not work yet, nor does what is unclear.
    """
    if not unsupported or result.status in ("invalid", "not_measured"):
        return result.status, result.message
    if result.status in ("failed", "inconclusive") or result.is_narrow:
        return "unsupported", unsupported
    return "failed", (
        f"declared unsupported ({unsupported}), but it works now: take the entry out of {where}"
    )


def past_its_date(expected: Expectations, gate: str) -> str | None:
    """What to say of an exception past its date, which is a failure; None before."""
    past = expected.expired(date.today())
    return past.get(gate) or past.get(CONVERSION)
