"""What the audit of a calibration set found, from the record's `calibration_audit`: a list of
`{"kind", "severity": "error" | "warning" | "advice", "evidence", "cure", "samples"}`, worst first.

Advice stands among a case's details alone; the rest is said wherever the case is.
"""

from __future__ import annotations

SAID = ("error", "warning")  # severities
# What a kind is about, where it is not the calibration set alone.
ABOUT = {"other_preprocessing": "Preprocessing"}


def details(record: dict) -> list[tuple[str, str]]:
    """Every finding as a name and a text; one pair that says so where nothing was found.

    None of both where no set was judged.
    """
    findings = record.get("calibration_audit")
    if findings is None:
        return []
    if not findings:
        return [("Calibration set", "nothing found to be wrong")]
    return [(f"{_about(each)}: {each['severity']}", _sentence(each)) for each in findings]


def remarks(record: dict) -> list[str]:
    """A sentence for each warning; an error is the reason of the case's verdict already."""
    findings = record.get("calibration_audit") or []
    return [f"{_about(each)}: {_sentence(each)}" for each in findings if _is_warning(each)]


def summaries(records: dict[str, dict]) -> list[str]:
    """For the terminal: of each case id what was found to be wrong, in a line.

    Recipes of one model share a calibration set, so that they are named together.
    """
    cases: dict[tuple[str, str], list[str]] = {}
    for case_id, record in records.items():
        for each in record.get("calibration_audit") or []:
            if each["severity"] in SAID:
                said = f"{each['severity']}, {each['kind']}: {_sentence(each)}"
                cases.setdefault((_about(each), said), []).append(case_id)
    return [f"{about} of {', '.join(ids)}: {said}." for (about, said), ids in cases.items()]


def _about(finding: dict) -> str:
    return ABOUT.get(finding["kind"], "Calibration set")


def _sentence(finding: dict) -> str:
    return f"{finding['evidence']}; {finding['cure']}"


def _is_warning(finding: dict) -> bool:
    return finding["severity"] == "warning"
