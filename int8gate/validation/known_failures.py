"""Gates that are known not to hold: why, where that is followed up, and until when.

    unsupported.cpu_speedup = "no fast kernel for PRELU on x86"
    unsupported.accuracy = { reason = "clips", link = "https://...", expires = 2027-03-01 }

The first form never expires. Nothing heavy is imported: it is read while pytest collects.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

KEYS = ("reason", "link", "expires")
FORM = 'gate = "reason", or gate = {reason = "...", link = "https://...", expires = 2027-03-01}'


@dataclass(frozen=True)
class KnownFailure:
    """A gate's exception; the day of `expires` is the last on which it holds."""

    reason: str
    link: str | None = None
    expires: date | None = None

    def is_expired(self, today: date) -> bool:
        return self.expires is not None and today > self.expires

    def __str__(self) -> str:
        about = (self.link, self.expires and f"until {self.expires.isoformat()}")
        known = "; ".join(filter(None, about))
        return f"{self.reason} ({known})" if known else self.reason


def known_failures(unsupported: dict) -> dict[str, KnownFailure]:
    """The exceptions of a checked table by gate."""
    return {
        gate: KnownFailure(**({"reason": told} if isinstance(told, str) else told))
        for gate, told in unsupported.items()
    }


def check_known_failures(where: str, unsupported: object, gates: Collection[str]) -> None:
    """Raises ValueError naming the entry, the gate and the key that is wrong."""
    if not isinstance(unsupported, dict):
        raise ValueError(f"{where}: unsupported must be {FORM}, found {unsupported!r}")
    if unknown := sorted(unsupported.keys() - set(gates)):
        raise ValueError(
            f"{where}: unsupported has no gate {', '.join(unknown)}; known: {', '.join(gates)}"
        )
    for gate, told in unsupported.items():
        _check(f"{where}: unsupported.{gate}", told if isinstance(told, dict) else {"reason": told})


def expiry_of(gate: str, known: KnownFailure) -> str:
    """What to say of an exception that is past its last day."""
    return (
        f"the exception of {gate} expired on {known.expires.isoformat()} ({known.reason}"
        f"{f'; {known.link}' if known.link else ''}): mend it and take its entry out, or agree on "
        "another date there"
    )


def _check(where: str, known: dict) -> None:
    if unknown := sorted(known.keys() - set(KEYS)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(KEYS)}")
    reason, link, expires = (known.get(key) for key in KEYS)
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"{where}: unsupported must be {FORM}, found {reason!r} as the reason")
    if link is not None and not re.fullmatch(r"https?://\S+", str(link)):
        raise ValueError(f"{where}: link must be an address such as https://..., found {link!r}")
    if expires is not None and type(expires) is not date:
        raise ValueError(
            f"{where}: expires must be a date such as 2027-03-01, without quotes, found {expires!r}"
        )
