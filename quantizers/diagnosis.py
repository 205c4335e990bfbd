"""Why a conversion failed, in a paragraph: operator, node, reason, what was tried, what to do.

    diagnosis = diagnose(error, log, "calibrate")
    message = diagnosis.sentence() if diagnosis else str(error).splitlines()[0]

What converters say, and what it means, stands in `diagnoses.toml`: a new diagnosis is an entry
there and the conversion that provokes it in the tests.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from int8gate.engine.errors import TaskFailed, WorkerError

TABLE = Path(__file__).with_name("diagnoses.toml")
SAYS_ITSELF = (  # stages of our own code
    "audit",
    "compiled",
    "imported",
    "prequantized",
    "program",
    "samples",
    "statistics",
)
SENTENCES = ("ValueError", "FileNotFoundError", "OSError", "MemoryError", "VelaError")
_LOG_BYTES = 1 << 20  # the end of a log, where converters say why
_QUOTED = 200  # characters that a sentence quotes of a name or a message
_STAGE_OF_ENTRY = {
    "saved_model": "export",
    "imported": "import",
    "network_inputs": "inputs",
    "program": "export",
    "statistics": "calibrate",
    "artifact": "quantize",
}


@dataclass(frozen=True)
class Diagnosis:
    """What a failed conversion comes to. `operator` and `node` are None where nothing names them.

    `node` is the name in the user's graph or, where only the converted graph is known, the number
    of the node there. `why`, `tried` and `do` are clauses without a full stop. `kind` is the
    entry's in `diagnoses.toml`.
    """

    operator: str | None
    node: str | None
    why: str
    tried: str
    do: str
    kind: str = ""
    log: Path | None = None

    def sentence(self) -> str:
        """A short paragraph on one line, no stack trace; it ends with where the log is."""
        place = f" ({self.node})" if self.node else ""
        subject = f"the converter stops at {self.operator}{place}: " if self.operator else ""
        what = f"{subject}{self.why}"
        parts = [f"{what[0].upper()}{what[1:]}", f"Tried: {self.tried}", f"Do: {self.do}"]
        if self.log:
            parts.append(f"Full log: {self.log}")
        return ". ".join(parts) + ("" if self.log else ".")


@dataclass(frozen=True)
class _Entry:
    """A table of `diagnoses.toml`; `operator` is for a message that does not say it."""

    kind: str
    pattern: str
    why: str
    do: str
    operator: str | None = None


def diagnose(error: WorkerError, log: Path | None, stage: str) -> Diagnosis | None:
    """What the error and the raw log of the converter (None: the error's own) say; None if nothing.

    `stage` is "export", "import", "inputs", "calibrate" or "quantize", or the kind of cache entry
    that the stage makes.
    """
    log = log or error.log
    said = f"{error}\n{_end_of(log)}"
    stage = _STAGE_OF_ENTRY.get(stage, stage)
    tried = tried_in().get(stage, f"the stage {stage} was run once, as declared")
    for entry in entries():
        if found := re.search(entry.pattern, said, re.MULTILINE):
            return _diagnosis(entry, found, said, tried, log)
    return None


class ConversionFailed(RuntimeError):
    """A conversion that failed for a known reason, which is the message; `log` holds the rest."""

    def __init__(self, message: str, log: Path | None) -> None:
        super().__init__(message)
        self.log = log


def diagnosed(error: WorkerError, stage: str) -> WorkerError | ConversionFailed:
    """The failure with its reason where that is known, else the error itself.

    Importers and the calibrator say the reason themselves: ValueError or OSError in a sentence.
    """
    is_known = isinstance(error, TaskFailed) and error.type_name in SENTENCES
    sentence = error.message if isinstance(error, TaskFailed) and is_known else None
    if sentence is not None and stage in SAYS_ITSELF:
        return ConversionFailed(sentence, error.log)
    if found := diagnose(error, error.log, stage):
        return ConversionFailed(found.sentence(), found.log)
    if sentence is not None and "\n" not in sentence:
        return ConversionFailed(sentence, error.log)
    return error


@cache
def entries() -> tuple[_Entry, ...]:
    """The entries of the table, in the order in which they are tried."""
    return tuple(_Entry(**entry) for entry in _table()["diagnosis"])


@cache
def tried_in() -> dict[str, str]:
    """What each stage does, by its name."""
    return _table()["tried"]


def _table() -> dict:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _diagnosis(
    entry: _Entry, found: re.Match, said: str, tried: str, log: Path | None
) -> Diagnosis:
    quoted = {name: _one_line(value) for name, value in found.groupdict().items() if value}
    operator = quoted.get("operator", entry.operator)
    why = entry.why.format_map(quoted) + _also_refused(said, operator)
    node = quoted.get("node") or _numbered(quoted) or _node_of(operator, said)
    return Diagnosis(
        operator, node, why, tried, entry.do.format_map(quoted), kind=entry.kind, log=log
    )


def _numbered(quoted: dict[str, str]) -> str | None:
    return f"node {quoted['number']} of the converted graph" if "number" in quoted else None


def _node_of(operator: str | None, said: str) -> str | None:
    """The first node of that operator in the MLIR locations, by its name in the user's graph.

    Of `loc(callsite(fused["Conv2D:", "net/conv@__inference_serve_6"] at ...` and, in graphs with
    debug information, of `loc(fused["Conv2D:", callsite("net/conv"("model.py":9:1) at ...`.
    """
    if operator is None:
        return None
    found = re.search(rf'fused\["{re.escape(operator)}:", (?:callsite\()?"([^"@]+)', said)
    return _one_line(found[1]) if found else None


def _also_refused(said: str, operator: str | None) -> str:
    lists = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", said, re.MULTILINE)
    others = dict.fromkeys(name.strip() for names in lists for name in names.split(","))
    others.pop(operator, None)
    return f"; refused as well: {_one_line(', '.join(others))}" if others else ""


def _one_line(value: str) -> str:
    """Of a name or a message that a model file may have made up: it must not steer a terminal."""
    line = "".join(char if char.isprintable() else "?" for char in " ".join(value.split()))
    return line if len(line) <= _QUOTED else line[: _QUOTED - 1] + "…"


def _end_of(log: Path | None) -> str:
    """The last MiB of the log; nothing where there is none (any more)."""
    if log is None:
        return ""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
