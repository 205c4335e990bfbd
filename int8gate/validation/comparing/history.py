"""Runs of the past, from `results.json` alone: those of reports, and those that were saved.

    found = runs_in(Path(".int8gate/runs"), [Path("report")])     `runs`, and files `damaged`
    before = find_run("0003", storage)           a number, a file, a report's folder, or "latest"
    comparison = compare_runs(before, find_run("report", storage))

Saved runs have a folder each:

    .int8gate/runs/0001_1f0c2ab4d_20260302_091405/results.json
    .int8gate/runs/predictions/         what each sample scored, of all runs, by its digest

`pytest --benchmark-autosave` and `--benchmark-save=NAME` add one, also under `-n`, where
pytest-benchmark saves nothing. What pytest-benchmark saves is its own: `pytest-benchmark compare`
reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from int8gate.validation.case_summary import (
    PREDICTIONS,
    case_key,
    figures_of,
    relevant_environment,
)
from int8gate.validation.comparing.baseline import Baseline, both_predictions, compare_to_baseline
from int8gate.validation.comparing.changes import Change, compare
from int8gate.validation.verdict import case_state

RUNS = Path(".int8gate") / "runs"
RESULTS = "results.json"
NUMBERED = "[0-9][0-9][0-9][0-9]_*"

SCHEMAS = (1, 2)  # that can be read
LATEST = "latest"
FINE = ("passed", "unsupported", None)  # verdicts; None: its gates were not run


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


@dataclass(frozen=True)
class Run:
    """A run's case records, with where and when they come from.

    `time` is ISO 8601 (empty where unknown), `commit` a short id with ``+`` where the tree was
    dirty. `folders` are where its predictions may be.
    """

    name: str
    time: str
    commit: str
    machine: str
    environment: Mapping
    cases: tuple[dict, ...]
    folders: tuple[Path, ...] = ()

    def case(self, key: str) -> dict | None:
        """The record of a case key, None where the run has none."""
        return next((record for record in self.cases if case_key(record) == key), None)


@dataclass(frozen=True)
class Comparison:
    """The changes from one run to another, and the cases that only one of them has."""

    before: Run
    now: Run
    changes: tuple[Change, ...]
    only_before: tuple[str, ...] = ()
    only_now: tuple[str, ...] = ()

    @property
    def not_passed(self) -> list[str]:
        """Each case of `now` that may not ship, with its verdict and why, in a line."""
        found = [
            each
            for each in self.now.cases
            if each.get("verdict") not in FINE or case_state(each) == "unfinished"
        ]
        return [f"{case_key(each)}: {_state(each)}: {_cause(each)}" for each in found]


def _state(record: dict) -> str:
    return case_state(record).replace("_", " ")


@dataclass
class Runs:
    """Runs in order of time, and a sentence for each file that could not be read."""

    runs: list[Run] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def runs_in(storage: Path | None, others: Iterable[Path] = ()) -> Runs:
    """The runs saved in a storage, and those of `others` (files, report folders).

    In order of time; saved runs in that of their numbers, whatever a clock that was set back says.
    A damaged file of the storage is named and left out; one of `others` raises as `read_run` does.
    """
    dated = [(run.time, run) for run in map(read_run, others)]
    damaged, latest = [], ""  # no run is before one of a lower number
    for path in saved_runs(storage) if storage else []:
        try:
            run = read_run(path)
        except (OSError, ValueError) as error:
            damaged.append(str(error))
            continue
        latest = max(latest, run.time)
        dated.append((latest, run))
    ordered = sorted(dated, key=lambda each: (each[0], each[1].name))
    return Runs([run for _, run in ordered], damaged)


def find_run(which: str, storage: Path) -> Run:
    """The run that is asked for: a file, a report's folder, `latest`, or the start of a saved name.

    Raises FileNotFoundError that lists what is there, ValueError where several fit or for a file
    that holds no run.
    """
    path = Path(which)
    if path.is_file() or (path / RESULTS).is_file():
        return read_run(path)
    saved = {path.parent.name: path for path in saved_runs(storage)}
    fitting = (
        list(saved)[-1:] if which == LATEST else [each for each in saved if each.startswith(which)]
    )
    if len(fitting) > 1:
        names = ", ".join(str(saved[each]) for each in fitting)
        raise ValueError(f"{which!r} is the start of several runs: {names}: give the file itself")
    if not fitting:
        known = ", ".join(each.partition("_")[0] for each in list(saved)[-10:]) or "nothing"
        raise FileNotFoundError(
            f"there is no run {which!r}: it is no file and no folder with {RESULTS}, and {storage} "
            f"has {known}; save runs with pytest --benchmark-autosave, or --report DIR"
        )
    return read_run(saved[fitting[0]])


def read_results(path: Path) -> tuple[Path, dict]:
    """The `results.json` that a path means, a file or its folder, and what it holds.

    Raises OSError for a file that cannot be read, ValueError for one that is no `results.json`.
    """
    path = path / RESULTS if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if isinstance(content, dict) and "benchmarks" in content:
        raise ValueError(
            f"{path} is a file of pytest-benchmark, which `pytest-benchmark compare` reads: "
            f"expected the {RESULTS} of pytest --report or --benchmark-autosave"
        )
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in SCHEMAS:
        found = f"schema = {schema!r}" if isinstance(content, dict) else "it is no object"
        raise ValueError(
            f"{path} holds no run of int8gate ({found}): expected the {RESULTS} of pytest --report "
            f"or --benchmark-autosave, of schema {' or '.join(map(str, SCHEMAS))}"
        )
    return path, content


def read_run(path: Path) -> Run:
    """The run of a file, or of a folder's `results.json`.

    Raises OSError for a file that cannot be read, ValueError for one that holds no run.
    """
    path, content = read_results(path)
    folder = path.parent
    name = folder.name if path.name == RESULTS else path.stem
    if path in saved_runs(folder.parent):
        name = name.partition("_")[0]
    try:
        run = run_of(content, name, [folder / PREDICTIONS, folder.parent / PREDICTIONS])
        for record in run.cases:
            figures_of(record, run.environment)  # a foreign record fails here and not in a table
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no run of int8gate ({type(error).__name__}: {error}): expected the "
            f"{RESULTS} of pytest --report or --benchmark-autosave"
        ) from error
    return run


def compare_runs(before: Run, now: Run, declared: Collection[str] = ()) -> Comparison:
    """What changed from one run to another, in the cases that both have.

    `declared` as in `changes.compare`.
    """
    records = [{case_key(record): record for record in run.cases} for run in (before, now)]
    changes: list[Change] = []
    for key in sorted(records[0].keys() & records[1].keys()):
        was = figures_of(records[0][key], before.environment)
        is_now = figures_of(records[1][key], now.environment)
        predictions = both_predictions(was, is_now, before.folders, now.folders)
        changes += compare(key, was, is_now, predictions, declared)
    only_before, only_now = (
        tuple(sorted(records[here].keys() - records[1 - here].keys())) for here in (0, 1)
    )
    return Comparison(before, now, tuple(changes), only_before, only_now)


def compare_accepted(
    name: str, baseline: Baseline, now: Run, declared: Collection[str] = ()
) -> Comparison:
    """What changed since the results that the baseline `name` accepts.

    `declared` as in `changes.compare`.
    """
    changes = [
        change
        for record in sorted(now.cases, key=case_key)
        for change in compare_to_baseline(record, now.environment, baseline, now.folders, declared)
    ]
    keys = {case_key(record) for record in now.cases}
    before = Run(name, time="", commit="", machine="", environment={}, cases=())
    only_before, only_now = (
        sorted(baseline.cases.keys() - keys),
        sorted(keys - baseline.cases.keys()),
    )
    return Comparison(before, now, tuple(changes), tuple(only_before), tuple(only_now))


def run_of(results: dict, name: str, folders: Iterable[Path] = ()) -> Run:
    """The run of results as `results.json` has them; `folders` are where predictions may be."""
    environment = results["environment"]
    return Run(
        name=name,
        time=environment.get("started") or "",
        commit=environment.get("commit") or "",
        machine=_machine(environment),
        environment=environment,
        cases=tuple(results["cases"]),
        folders=tuple(folders),
    )


def _cause(record: Mapping) -> str:
    return (record.get("reason") or "no reason is on record").splitlines()[0]


def _machine(environment: Mapping) -> str:
    about = relevant_environment(environment, None)
    return " ".join(about[name] for name in ("host", "cpu") if name in about)
