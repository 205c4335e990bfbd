"""The answer to `may these ship?` in words, and what a reader needs beside the figures.

The rule of the answer is in `validation/verdict.py`. Beside the figures stand their kinds
(`LEGEND`), the set-ups behind them and the environment in which they were measured.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from int8gate.reporting.fields import DASH, dig, text
from int8gate.reporting.rows import CaseRow, sorted_cases
from int8gate.validation.shipping import RULE, to_ship
from int8gate.validation.verdict import Answer, is_structure_only, run_answer

SHOWN_FIRST = (
    *("passed", "partly", "failed", "error", "inconclusive", "invalid"),
    *("not judged", "unfinished", "unsupported"),
)
HELD = ("passed", "partly", "unsupported")  # what makes no run fail
STRUCTURE_ONLY = "Structure only, the weights are random"

LEGEND = (
    ("Measured", "it ran on the hardware named, and was timed or scored there."),
    (
        "Simulated",
        "a simulator executed it: the numbers it computes count, its wall time does not.",
    ),
    ("Modelled", "a compiler or a roofline computed the time; nothing ran on that hardware."),
    (
        "Accuracy and size",
        (
            "measured: the models scored evaluation samples on this host, and the files were "
            "weighed. Size is float bytes over quantized bytes: more is smaller."
        ),
    ),
    (
        "Drop",
        (
            "how much worse than the float model, in units of the metric, with its upper 95% bound "
            "(≤). The accuracy gate passes where that bound is within what is allowed."
        ),
    ),
    (
        "Partly",
        "the selected gates of the case hold; others were not selected, so this is no yes.",
    ),
    ("Not judged", "accuracy, or an NPU that was asked for, could not be measured: the run fails."),
    ("To ship", RULE),
    (
        "Rank, front",
        (
            "a rank is shared by recipes whose accuracy cannot be told apart at 95%. On the front "
            "of a target, or of size, are those that passed and that no other one, nor float, "
            "beats in both accuracy and that cost; ~ by a difference that may be chance."
        ),
    ),
    (DASH, "not measured, or does not apply."),
)


@dataclass(frozen=True)
class Headline:
    """The question, its answer in a sentence, what stands against it, the count of each verdict."""

    tone: str  # good, warn or bad
    question: str
    answer: str
    detail: str
    counts: dict[str, int]

    @property
    def line(self) -> str:
        return " ".join(part for part in (self.question, self.answer, self.detail) if part)


def headline(rows: list[CaseRow], results: dict) -> Headline:
    """A random network is never called fit to ship, and neither is a case of which gates ran."""
    answer, counts = run_answer(results), _count_verdicts(rows)
    structure_only = is_structure_only(results)
    said = _answer(answer, rows)
    if structure_only:
        said = f"{STRUCTURE_ONLY}. {said}"
    return Headline(
        tone=_tone(answer, rows),
        question="" if structure_only else "May these ship?",
        answer=said,
        detail=" ".join(_details(answer, rows, results, counts)),
        counts=counts,
    )


def _answer(answer: Answer, rows: list[CaseRow]) -> str:
    total, ships = len(rows), len(answer.may_ship)
    match answer.kind:
        case "nothing":
            return "Nothing was tested."
        case "unfinished":
            ended = sum(row.verdict != "unfinished" for row in rows)
            return f"Not known: the run did not finish. So far: {ended} of {_cases(total)} ended."
        case "no":
            if ships:
                return f"Not all: {ships} of {_cases(total)} may ship."
            bad = [row.id for row in rows if row.verdict not in HELD]
            return f"No: {_bad(bad, total)}." if bad else "No: figures got worse than allowed."
        case "structure":
            return f"The selected gates of {_cases(total)} passed."
        case "selected":
            return f"Not known: the selected gates passed: {_run_gates(rows)} of {_cases(total)}."
        case "declared":
            return f"Nothing to ship: as declared, {_cases(total)} unsupported."
    return _yes(answer, total)


def _bad(bad: list[str], total: int) -> str:
    if len(bad) == 1:
        return f"{bad[0]} did not pass"
    return (
        f"none of {_cases(total)} passed"
        if len(bad) == total
        else (f"{len(bad)} of {_cases(total)} did not pass")
    )


def _yes(answer: Answer, total: int) -> str:
    best = to_ship(answer.may_ship)
    but = ", but for gates declared unsupported" if any(map(_exceptions, best)) else ""
    if len(best) == 1:
        return f"Yes{but}: ship {best[0]['model']} with {best[0]['recipe']}."
    return f"Yes{but}: {len(best)} models, the recipes to ship are below."


def _details(answer: Answer, rows: list[CaseRow], results: dict, counts: dict) -> list[str]:
    sentences = []
    if set(counts) - {"passed", "partly"}:
        sentences.append(", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + ".")
    elif answer.kind == "yes" and len(rows) > 1:
        sentences.append(f"All {_cases(len(rows))} passed.")
    if regressions := results.get("regressions"):
        named = list(dict.fromkeys(f"{each['case']} {each['figure']}" for each in regressions))
        against = " and ".join(dict.fromkeys(str(each["against"]) for each in regressions))
        sentences.append(f"Worse than {against}: {', '.join(named)}.")
    if answer.kind == "structure":
        sentences.append(f"Passed: {_run_gates(rows)}.")
    if not_judged := _deselected(rows):
        sentences.append(f"Not judged, as not selected: {', '.join(not_judged)}.")
    if unmeasured := _having(rows, "not_measured"):
        sentences.append(f"Not measured: {'; '.join(unmeasured)}.")
    if excepted := _having(rows, "unsupported"):
        sentences.append(f"Declared unsupported: {'; '.join(excepted)}.")
    best = to_ship(answer.may_ship)
    if best and (answer.kind == "no" or len(best) > 1):
        named = "; ".join(f"{each['model']} with {each['recipe']}" for each in best)
        sentences.append(f"To ship: {named}.")
    return sentences


def _run_gates(rows: list[CaseRow]) -> str:
    """The gates that ran in any case, in the order of the record."""
    names = (gate for row in rows for gate, state in row.gates.items() if state)
    return ", ".join(dict.fromkeys(names))


def _deselected(rows: list[CaseRow]) -> list[str]:
    return list(dict.fromkeys(gate for row in rows for gate in row.deselected))


def _having(rows: list[CaseRow], status: str) -> list[str]:
    """The cases that hold although a gate ended so, with these gates."""
    found = [
        (row, [gate for gate, state in row.gates.items() if state == status])
        for row in rows
        if row.holds
    ]
    return [f"{row.id} {', '.join(gates)}" for row, gates in found if gates]


def _exceptions(record: dict) -> bool:
    return "unsupported" in (record.get("gates") or {}).values()


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def _count_verdicts(rows: list[CaseRow]) -> dict[str, int]:
    counts = Counter(row.verdict for row in rows)
    known = [verdict for verdict in SHOWN_FIRST if verdict in counts]
    return {verdict: counts[verdict] for verdict in known + sorted(set(counts) - set(known))}


def _tone(answer: Answer, rows: list[CaseRow]) -> str:
    """Red is a run that fails; yellow one that fails nothing and is no plain yes."""
    if answer.kind == "no":
        return "bad"
    return "good" if answer.kind == "yes" and not _having(rows, "not_measured") else "warn"


def setups(results: dict) -> list[str]:
    """How each speed figure came about, each distinct set-up named once."""
    lines: dict[str, None] = {}
    for case in sorted_cases(results):
        if case.get("cpu"):
            lines[_cpu_setup(case["cpu"])] = None
    for case in sorted_cases(results):
        for entry in case.get("npu") or []:
            lines[_npu_setup(entry)] = None
    return list(lines)


def _cpu_setup(cpu: dict) -> str:
    kind, host, threads = (text(cpu.get(key)) for key in ("kind", "host", "threads"))
    return f"CPU: {kind} on {host}, threads {threads}; speedup over the float model."


def _npu_setup(entry: dict) -> str:
    names = ("target", "kind", "compiler", "system_config", "memory_mode", "clock_mhz")
    target, kind, compiler, system, memory, clock = (text(entry.get(name)) for name in names)
    core, core_kind = (text(dig(entry, "cpu_baseline", key)) for key in ("core", "kind"))
    return (
        f"NPU {target}: {kind} (compiler {compiler}, system config {system}, "
        f"memory mode {memory}, clock {clock} MHz); speedup over CPU {core} ({core_kind})."
    )


def environment_pairs(results: dict) -> list[tuple[str, str]]:
    """The environment as pairs of name and text, the packages after the rest."""
    environment = results.get("environment") or {}
    pairs = [(name, text(value)) for name, value in environment.items() if name != "packages"]
    packages = environment.get("packages") or {}
    return pairs + [(name, text(version)) for name, version in sorted(packages.items())]
