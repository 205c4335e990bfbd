"""Generation with a key-value cache as a table, a line for each case of a language model."""

from __future__ import annotations

from collections.abc import Mapping

from int8gate.reporting.fields import DASH, dig, percent, three_digits, times
from int8gate.reporting.rows import CaseRow

Line = tuple[str, ...]
MEANING = (
    "Prefill of a prompt and decode with a key-value cache, artifacts of their own. Medians of "
    "interleaved rounds, with their 95% intervals; the last column is the share of tokens that "
    "generation with the cache and the scored artifact find likeliest alike."
)


def header(rows: list[CaseRow]) -> Line:
    """The columns, with the tokens of the prompt and the kind of the figures."""
    measured = [found for row in rows if (found := row.record.get("generation"))]
    kinds = dict.fromkeys(str(found["kind"]) for found in measured if found.get("kind"))
    prompts = dict.fromkeys(str(found["prompt"]) for found in measured if found.get("prompt"))
    kind = " or ".join(kinds) or DASH
    return (
        "case",
        f"first token after {' or '.join(prompts) or DASH}, ms, float, {kind}",
        f"quantized, {kind}",
        "ratio",
        f"then tokens a second, float, {kind}",
        f"quantized, {kind}",
        "ratio",
        "rounds",
        "as without the cache",
    )


def table(rows: list[CaseRow]) -> list[Line]:
    """A line for each case whose generation was measured."""
    return [
        (row.id, *_line(found))
        for row in rows
        if (found := row.record.get("generation")) and found.get("kind")
    ]


def reasons(rows: list[CaseRow]) -> list[str]:
    """Why it was not measured of the others, each reason once with its cases."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if reason := dig(row.record, "generation", "reason"):
            by_reason.setdefault(reason, []).append(row.id)
    return [f"{', '.join(cases)}: {reason}" for reason, cases in by_reason.items()]


def _line(found: Mapping) -> Line:
    cells = [
        words(dig(found, step, which))
        for step in ("first_token_ms", "tokens_per_s")
        for which, words in (("float", _figure), ("quantized", _figure), ("speedup", _ratio))
    ]
    rounds = [dig(found, step, "rounds") for step in ("first_token_ms", "tokens_per_s")]
    told = " and ".join(str(each) for each in dict.fromkeys(rounds) if each is not None)
    return (*cells, told or DASH, percent(dig(found, "consistency", "same_tokens")))


def _figure(estimate: Mapping | None) -> str:
    """`1.87 (1.80 to 1.93)`."""
    return _with_interval(estimate, three_digits)


def _ratio(estimate: Mapping | None) -> str:
    return _with_interval(estimate, times)


def _with_interval(estimate: Mapping | None, words) -> str:
    if not estimate:
        return DASH
    value, low, high = (words(dig(estimate, key)) for key in ("value", "lower_95", "upper_95"))
    return f"{value} ({low} to {high})"
