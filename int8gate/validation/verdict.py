"""The one rule for how cases and runs end: verdicts, the answer, the exit code.

Everything here is a pure function of case records (`record.py`). A gate that exists for a case is
*deselected* where the command line left it out (`-m`, `-k`, a test's id), *pending* until it has
ended, and has a status then: `passed`, `recorded` (measured, without a limit), `unsupported` (a
declared exception), `not_measured`, `inconclusive`, `failed`, `invalid`, `error`.

A case's verdict is the first that fits:

| verdict | when | fails the run |
| --- | --- | --- |
| `error`, `invalid`, `failed`, `inconclusive` | a gate ended so; the worst, in this order | yes |
| none yet | a gate is pending: the run was cut short | yes |
| `not_judged` | accuracy, or an NPU that was asked for, could not be measured | yes |
| `unsupported` | accuracy is declared not to hold, and does not | no |
| none | accuracy was deselected, the other selected gates hold | no |
| `passed` | every selected gate passed, was recorded, or is declared not to hold | no |

Size and CPU speed are relative to a float model: where a quantized file comes without one there is
nothing to measure, and the other gates decide. Random weights (a structure-only run) measure no
accuracy, so such a run fails as `not_judged`, but where it deselects the accuracy gate.

A run's answer is the first that fits:

| answer | when | exit code |
| --- | --- | --- |
| `nothing` | no case was selected | 1 |
| `unfinished` | it was interrupted, or a gate is pending | 1 (2 after Ctrl-C) |
| `no` | a case fails the run, or a figure got worse than the baseline or the run before allow | 1 |
| `structure` | random weights, and the selected gates hold | 0 |
| `selected` | gates were deselected, and the selected ones hold | 0 |
| `declared` | every case is `unsupported` | 0 |
| `yes` | the others: what passed may ship | 0 |

pytest ends with its own code (2 to 5) where it has one. Only cases that passed with no gate
deselected, no figure regressed and trained weights may ship, and only they enter a baseline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from int8gate.validation.case_summary import case_key

WORST_FIRST = ("error", "invalid", "failed", "inconclusive")
FAILS_A_GATE = WORST_FIRST  # and `not_measured` of MUST_MEASURE
MUST_MEASURE = ("accuracy", "npu_speedup")
RANDOM = "random"  # `weights` of a structure-only run's environment


@dataclass(frozen=True)
class Answer:
    """What a run found: `kind` and `exit_code` as in the table above.

    `may_ship` are the records of the cases that may.
    """

    kind: str
    exit_code: int
    may_ship: tuple[dict, ...]


def fails(gate: str, status: str | None) -> bool:
    """Whether a gate that ended so fails the run."""
    return status in FAILS_A_GATE or (status == "not_measured" and gate in MUST_MEASURE)


def case_verdict(record: Mapping) -> tuple[str | None, str]:
    """Verdict and reason of a case, from its gates and what they said."""
    gates, messages = record.get("gates") or {}, record.get("messages") or {}
    ended = {gate: status for gate, status in gates.items() if status}
    for verdict in WORST_FIRST:
        if bad := [gate for gate, status in ended.items() if status == verdict]:
            return verdict, f"{', '.join(bad)}: {_first_line(messages.get(bad[0]))}"
    if pending := record.get("pending"):
        return None, f"not run to the end: {', '.join(pending)}"
    if unknown := [gate for gate, status in ended.items() if fails(gate, status)]:
        said = messages.get(unknown[0]) or f"{unknown[0]} was not measured"
        return "not_judged", said
    if "accuracy" not in ended:
        left_out = "accuracy" in (record.get("deselected") or ())
        return None, f"the accuracy gate was not {'selected' if left_out else 'run'}"
    if ended["accuracy"] == "unsupported":
        return "unsupported", messages.get("accuracy", "")
    return "passed", ""


def case_state(record: Mapping) -> str:
    """The verdict, and in its place `unfinished` or `partly` (only selected gates hold)."""
    verdict = record.get("verdict")
    if record.get("pending") and verdict not in WORST_FIRST:
        return "unfinished"
    if record.get("deselected") and verdict in ("passed", None):
        return "partly"
    return verdict or "unknown"


def case_fails(record: Mapping) -> bool:
    """Whether a case makes the run fail."""
    return case_state(record) not in ("passed", "partly", "unsupported")


def is_structure_only(results: Mapping) -> bool:
    return (results.get("environment") or {}).get("weights") == RANDOM


def run_answer(results: Mapping) -> Answer:
    """The answer of a whole run: `results` as in `results.json`."""
    cases = results.get("cases") or []
    regressed = {each["case"] for each in results.get("regressions") or []}
    ships = tuple(_may_ship(cases, regressed, is_structure_only(results)))
    states = [case_state(record) for record in cases]
    finished = (results.get("environment") or {}).get("finished") is not False
    if not finished or "unfinished" in states:
        return Answer("unfinished", 1, ships)
    if not cases:
        return Answer("nothing", 1, ())
    if regressed or any(map(case_fails, cases)):
        return Answer("no", 1, ships)
    if is_structure_only(results):
        return Answer("structure", 0, ())
    if "partly" in states:
        return Answer("selected", 0, ships)
    return Answer("yes" if ships else "declared", 0, ships)


def why_not_accepted(record: Mapping) -> str | None:
    """Why a case may not enter a baseline; None where it may as far as its gates go."""
    if record.get("verdict") != "passed":
        verdict = (record.get("verdict") or "not judged").replace("_", " ")
        said = _first_line(record.get("reason"))
        return f"{verdict}: {said}" if said else verdict
    left_out = [*(record.get("deselected") or ()), *(record.get("pending") or ())]
    return f"its gates did not all run: {', '.join(left_out)} left out" if left_out else None


def _may_ship(cases: Iterable[dict], regressed: set[str], structure_only: bool) -> list[dict]:
    if structure_only:
        return []
    passed = (record for record in cases if case_state(record) == "passed")
    return [record for record in passed if case_key(record) not in regressed]


def _first_line(text: str | None) -> str:
    return (text or "").splitlines()[0] if text else ""
