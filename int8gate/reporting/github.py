"""What GitHub shows of a run: annotations of the files concerned, and the summary of a step.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations  # pyright: ignore[reportAssignmentType]

from collections.abc import Mapping
from pathlib import Path

from int8gate.reporting.markdown import render
from int8gate.validation.case_summary import case_key
from int8gate.validation.verdict import case_fails, case_state, fails

SUMMARY_BYTES = 1_000_000  # of a step; GitHub refuses a summary of more than 1 MiB
CUT = "\n\n*The rest is cut off here: GitHub takes no more. The whole report is in report.md.*\n"
_OF_TEXT = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_OF_PROPERTY = _OF_TEXT | {":": "%3A", ",": "%2C"}


def annotations(results: Mapping, places: Mapping[str, tuple[Path, int]]) -> list[str]:
    """A workflow command for each case that fails the run, and for each figure that got worse.

    `places` are the file, relative to the workspace, and the line that declare a model.
    """
    commands = []
    for record in results.get("cases") or []:
        if case_fails(record):
            said = [
                f"{gate}: {(record.get('messages') or {}).get(gate) or status}"
                for gate, status in (record.get("gates") or {}).items()
                if fails(gate, status)
            ]
            state = case_state(record).replace("_", " ")
            text = "\n".join(said) or record.get("reason") or state
            title = f"{case_key(record)}: {state}"
            commands.append(_command(text, title, places.get(record["model"])))
    for regression in results.get("regressions") or []:
        commands.append(_command(regression["message"], f"{regression['case']}: regressed", None))
    return commands


def summary(results: dict) -> str:
    """`report.md`, cut at a line where it is longer than a step's summary may be."""
    text = render(results)
    if len(text.encode()) <= SUMMARY_BYTES:
        return text
    kept = text.encode()[: SUMMARY_BYTES - len(CUT.encode())].decode(errors="ignore")
    return kept.rpartition("\n")[0] + CUT


def _command(text: str, title: str, place: tuple[Path, int] | None) -> str:
    properties = {} if place is None else {"file": place[0].as_posix(), "line": place[1]}
    given = (f"{key}={_escaped(str(value), _OF_PROPERTY)}" for key, value in properties.items())
    listed = ",".join([*given, f"title={_escaped(title, _OF_PROPERTY)}"])
    return f"::error {listed}::{_escaped(text, _OF_TEXT)}"


def _escaped(text: str, characters: Mapping[str, str]) -> str:
    return text.translate(str.maketrans(dict(characters)))
