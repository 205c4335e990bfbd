"""What the documents say of a calibration set that the audit found wrong."""

from __future__ import annotations

import pytest

from int8gate.reporting import calibration, html, markdown
from int8gate.reporting.rows import rows_of
from int8gate.reporting.terminal import summary_lines


def finding(severity: str, kind: str = "activation_mismatch") -> dict:
    evidence, cure = f"{severity} seen", f"mend the {severity}"
    return {"kind": kind, "severity": severity, "evidence": evidence, "cure": cure, "samples": []}


def results(*findings: dict, recipes=("r",), verdict="passed") -> dict:
    case = {"model": "m", "verdict": verdict, "calibration_audit": list(findings)}
    return {"schema": 1, "environment": {}, "cases": [case | {"recipe": name} for name in recipes]}


def printed(of: dict) -> str:
    return " ".join(" ".join(line for line, _ in summary_lines(of, 160)).split())


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_the_terminal_says_what_is_wrong_and_what_to_do(severity):
    said = printed(results(finding(severity)))
    assert f"Calibration set of m-r: {severity}, activation_mismatch: {severity} seen" in said
    assert f"mend the {severity}" in said


def test_advice_is_for_those_who_look():
    of = results(finding("advice"))
    assert "advice seen" not in printed(of)
    assert "advice seen" not in markdown.render(of)
    assert "advice seen" in html.render(of)


def test_recipes_with_one_finding_are_said_once():
    said = printed(results(finding("warning"), recipes=("a", "b")))
    assert "Calibration set of m-a, m-b: warning" in said
    assert said.count("warning seen") == 1


def test_a_case_that_passed_with_a_warning_has_a_remark():
    of = results(finding("warning"))
    (row,) = rows_of(of)
    assert not row.is_plain_pass
    assert "warning seen; mend the warning" in markdown.render(of).partition("## Remarks")[2]
    assert rows_of(results(finding("advice")))[0].is_plain_pass


def test_a_wrong_preprocessing_is_not_said_of_the_set():
    of = results(finding("error", "other_preprocessing"), verdict="invalid")
    assert "Preprocessing of m-r: error" in printed(of)
    assert calibration.details(of["cases"][0])[0][0] == "Preprocessing: error"


def test_a_set_without_fault_and_no_set():
    assert calibration.details({"calibration_audit": []}) == [
        ("Calibration set", "nothing found to be wrong")
    ]
    assert calibration.details({"calibration_audit": None}) == calibration.details({}) == []
    assert calibration.summaries({"m-r": {}}) == []
