"""The answer to `may these ship?`, from the verdicts of all cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reporting.rows import CaseRow

VERDICTS = ("passed", "failed", "error", "inconclusive", "invalid", "unsupported")


@dataclass(frozen=True)
class Headline:
    """The answer in a sentence, what stands against it, and the count of each verdict."""

    tone: str  # good, warn or bad
    answer: str
    detail: str
    counts: dict[str, int]


def headline(rows: list[CaseRow], results: dict) -> Headline:
    """A run that has not come to its end says so first: what it found so far may be half a case."""
    counts = _count_verdicts(rows)
    passed, total = counts.get("passed", 0), len(rows)
    if not rows:
        answer = "Nothing was tested."
    elif passed == total:
        but = ", but for the gates declared unsupported" if _exceptions(rows) else ""
        answer = f"Yes{but}: {_cases(total)} passed."
    elif passed:
        answer = f"Not all: {passed} of {_cases(total)} may ship."
    else:
        answer = f"No: none of {_cases(total)} may ship."
    others = [f"{count} {verdict}" for verdict, count in counts.items() if verdict != "passed"]
    sentences = [", ".join(others) + "."] if others else []
    unfinished = (results.get("environment") or {}).get("finished") is False
    if unfinished:
        answer = f"Not known: the run did not finish. So far: {answer}"
    partly = sum("not_measured" in row.gates.values() for row in rows if row.verdict == "passed")
    if partly:
        sentences.append(f"{partly} of the passed left a gate unmeasured.")
    if excepted := _exceptions(rows):
        sentences.append(f"Declared unsupported among the passed: {'; '.join(excepted)}.")
    return Headline(_tone(counts, partly or unfinished), answer, " ".join(sentences), counts)


def _exceptions(rows: list[CaseRow]) -> list[str]:
    """The passed cases with gates that are declared not to hold, and which gates these are."""
    found = [
        (row, [gate for gate, status in row.gates.items() if status == "unsupported"])
        for row in rows
        if row.verdict == "passed"
    ]
    return [f"{row.id} {', '.join(gates)}" for row, gates in found if gates]


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def _count_verdicts(rows: list[CaseRow]) -> dict[str, int]:
    counts = Counter(row.verdict for row in rows)
    known = [verdict for verdict in VERDICTS if verdict in counts]
    return {verdict: counts[verdict] for verdict in known + sorted(set(counts) - set(known))}


def _tone(counts: dict[str, int], partly: int | bool) -> str:
    if counts.get("failed") or counts.get("error"):
        return "bad"
    if partly or not counts.get("passed") or set(counts) - {"passed", "unsupported"}:
        return "warn"
    return "good"
