"""Where runs are kept for `int8gate history` and comparisons: a folder each, with `results.json`.

    .int8gate/runs/0001_1f0c2ab4d_20260302_091405/results.json
    .int8gate/runs/predictions/         what each sample scored, of all runs, by its digest

`pytest --benchmark-autosave` and `--benchmark-save=NAME` add one, also under `-n`, where
pytest-benchmark saves nothing.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

RUNS = Path(".int8gate") / "runs"
RESULTS = "results.json"
PREDICTIONS = "predictions"
NUMBERED = "[0-9][0-9][0-9][0-9]_*"


def saved_runs(storage: Path) -> list[Path]:
    """The `results.json` of each run, in the order of their numbers."""
    return sorted(storage.glob(f"{NUMBERED}/{RESULTS}"), key=lambda path: path.parent.name)


def new_folder(storage: Path, commit: str | None, started: str, name: str | None = None) -> Path:
    """Makes the next run's folder; `started` is ISO 8601, `name` what the user calls the run.

    Raises OSError where it cannot be made.
    """
    time = datetime.fromisoformat(started).strftime("%Y%m%d_%H%M%S")
    label = re.sub(r"[^A-Za-z0-9._+-]", "_", name or f"{commit or 'uncommitted'}_{time}")[:100]
    storage.mkdir(parents=True, exist_ok=True)
    while True:
        numbers = [int(path.name[:4]) for path in storage.glob(NUMBERED)]
        folder = storage / f"{max(numbers, default=0) + 1:04}_{label}"
        try:
            folder.mkdir()
        except FileExistsError:  # another run took the number and the label just now
            continue
        return folder
