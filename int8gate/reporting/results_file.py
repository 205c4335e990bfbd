"""`results.json`: a line for each field of a case, and one for each row within a field.

    file = ResultsFile(directory)
    file.put(case)              as often as a case changes: only its own text is made again
    file.write(results)         the whole file, whole or not at all

A run writes the file after every test, so that an interrupted one leaves what it found.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from int8gate.engine import atomic_file
from int8gate.reporting.rows import case_order

DEPTH = 2  # of a field of a case: its parts, and their rows
GIVEN_WHOLE = ("calibration",)  # a long field that is replaced, never changed in place
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class ReportError(OSError):
    """The report could not be written; the message is one sentence for a user."""


class ResultsFile:
    """`directory`/results.json of a run, with the text of every case it holds."""

    def __init__(self, directory: Path) -> None:
        self.path = Path(directory) / "results.json"
        self._texts: dict[tuple[str, ...], bytes] = {}
        self._given: dict[tuple, tuple[Any, str]] = {}

    def put(self, case: dict) -> None:
        """Adds a case record, or replaces that of the same model, recipe and profile."""
        order = case_order(case)
        for name in GIVEN_WHOLE:
            value = case.get(name)
            if self._given.get((order, name), (None,))[0] is not value:
                self._given[order, name] = value, _field_text(value)
        known = {name: self._given[order, name][1] for name in GIVEN_WHOLE if case.get(name)}
        self._texts[order] = text_of_case(case, known)

    def write(self, results: dict) -> None:
        """The file: all of `results` but its cases, and the cases that were put, in order.

        Raises ReportError where the directory cannot be made or written.
        """
        cases = [self._texts[order] for order in sorted(self._texts)]
        write_atomically(self.path, file_of(results, cases))


def file_of(results: dict, cases: list[bytes]) -> bytes:
    """The file's bytes; `cases` are texts that take the place of the cases in `results`."""
    head = "".join(
        f" {_encode(name)}: {_finite_text(value, 1, ' ')},\n"
        for name, value in results.items()
        if name != "cases"
    )
    listed = b"[\n" + b",\n".join(cases) + b"\n ]" if cases else b"[]"
    return b"{\n" + to_bytes(head) + b' "cases": ' + listed + b"\n}\n"


def text_of_case(case: dict, known: dict[str, str] | None = None) -> bytes:
    """A case record as it stands in the file; `known` has the texts of some of its fields."""
    known = known or {}
    lines = (
        f"   {_encode(name)}: {known[name] if name in known else _field_text(value)}"
        for name, value in case.items()
    )
    return to_bytes("  {\n" + ",\n".join(lines) + "\n  }")


def _field_text(value: Any) -> str:
    return _finite_text(value, DEPTH, "   ")


def to_bytes(text: str) -> bytes:
    """UTF-8; what cannot be encoded, half a surrogate pair in a name of a model, is escaped."""
    return text.encode("utf-8", "backslashreplace")


def _finite_text(value: Any, depth: int, margin: str) -> str:
    """JSON of a value, its outer `depth` levels with a line for each item.

    NaN and infinities are null: JSON has neither, and a report must not draw them.
    """
    try:
        return _text(value, depth, margin)
    except ValueError:
        return _text(finite(value), depth, margin)


def _text(value: Any, depth: int, margin: str) -> str:
    if not depth or not value or not isinstance(value, (dict, list, tuple)):
        return _encode(value)
    inner = margin + " "
    if isinstance(value, dict):
        lines = [
            f"{inner}{_encode(name)}: {_text(item, depth - 1, inner)}"
            for name, item in value.items()
        ]
        opening, closing = "{}"
    else:
        lines = [f"{inner}{_text(item, depth - 1, inner)}" for item in value]
        opening, closing = "[]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{margin}{closing}"


def finite(value: Any) -> Any:
    """A copy with None in place of NaN and infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, content: bytes) -> None:
    """`atomic_file.write` of a report's file; raises ReportError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.write(path, content)
    except OSError as error:
        raise ReportError(
            f"cannot write {path}: {error.strerror}; give --report a directory that you can write"
        ) from error
