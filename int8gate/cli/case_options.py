"""What commands about a case have in common: options, budgets, what they write, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from int8gate.engine.duration import seconds_of

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended

Zoo = Annotated[Path | None, typer.Option("--zoo", help="the TOML that declares the model")]
Profile = Annotated[str, typer.Option("--profile", help="compact or full, as of pytest")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="as --weights-dir of pytest")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="as --data-dir of pytest")]
CacheDir = Annotated[str | None, typer.Option("--artifact-cache", help="as of pytest")]
Trust = Annotated[bool, typer.Option("--trust", help="let code in the model file run")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="write all figures there")
]


def budget_of(text: str) -> float:
    """The seconds of a `--budget`. Raises ValueError for a text that is no time."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise ValueError(f"--budget {text}: {error}") from None


def write_json(file: Path, record: dict) -> None:
    """Raises OSError where nothing can be written."""
    from int8gate.engine import atomic_file
    from int8gate.reporting.results_file import to_bytes

    atomic_file.write(file, to_bytes(json.dumps(record, indent=1) + "\n"))
