"""A run against accepted results (`--baseline`) and against an earlier run (`--gate-compare-fail`).

Both look at the case records when the session ends, where they are complete, and make a run fail
that every test of it passed. What a gate's own tolerance says is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from int8gate.engine.errors import plain_text
from int8gate.plugin.models import MODELS, declared_metrics
from int8gate.plugin.predictions import predictions_folders, runs_folder
from int8gate.plugin.recording import RECORDS, Records
from int8gate.plugin.workarounds import report_as_failed
from int8gate.reporting import comparison as reporting
from int8gate.validation.case_summary import case_key
from int8gate.validation.comparing import baseline_file, history
from int8gate.validation.comparing.baseline import (
    Baseline,
    compare_to_baseline,
    not_in_baseline,
    update,
)
from int8gate.validation.comparing.changes import Change
from int8gate.validation.comparing.history import Run, compare_runs, find_run, run_of
from int8gate.validation.comparing.limits import BASELINE_LIMITS, Limit, beyond, parse_limits
from int8gate.validation.verdict import why_not_accepted

DEFAULT_BASELINE = Path("int8gate-baseline.toml")
REGRESSION = "int8gate_regression"  # an attribute of the reports of what got worse


class Comparing:
    """Compares the run in the process that reports it; `begin` reads what it is compared with.

    A run with none of the options `predictions.COMPARED_BY` has none.
    """

    def __init__(self, config: pytest.Config):
        self.config = config
        self.records: Records = config.stash[RECORDS]
        self.metrics = declared_metrics(config.stash[MODELS].values())
        self.baseline: Baseline | None = None
        self.before: Run | None = None
        self.limits: dict = {}
        self.regressions: list[dict] = self.records.regressions
        self.lines: list[str] = []

    def begin(self) -> None:
        """Raises ValueError or OSError saying what is wrong with an option or its file."""
        option = self.config.getoption
        path, is_updated = self.path, option("int8_update_baseline")
        if path and (path.is_file() or not is_updated):
            self.baseline = baseline_file.read(path)
        elif is_updated:
            self.baseline = Baseline()
        if text := option("int8_gate_compare_fail"):
            self.limits = parse_limits(text)
            chosen = option("--benchmark-compare", None)  # True where it names none
            which = chosen.strip() if isinstance(chosen, str) else ""
            self.before = find_run(which or history.LATEST, runs_folder(self.config))

    @property
    def path(self) -> Path | None:
        """The baseline's file."""
        option = self.config.getoption
        return option("int8_baseline") or (
            DEFAULT_BASELINE if option("int8_update_baseline") else None
        )

    @pytest.hookimpl(tryfirst=True)  # before the records are written, by whomever
    def pytest_sessionfinish(self) -> None:
        if self.config.option.collectonly or not self.records.cases:
            return
        results = self.records.results()
        if self.baseline is not None:
            self._against_baseline(results)
        if self.before is not None:
            self._against_run(self.before, results)
        for regression in self.regressions:
            self._report(regression)

    def _against_baseline(self, results: dict) -> None:
        folders = predictions_folders(self.config)
        changes = [
            change
            for record in results["cases"]
            for change in compare_to_baseline(
                record, results["environment"], self.baseline, folders, self.metrics
            )
        ]
        if self.config.getoption("int8_update_baseline"):
            self._update(results, folders)
            return
        self._add(changes, BASELINE_LIMITS, str(self.path))
        passed = {case_key(case) for case in results["cases"] if why_not_accepted(case) is None}
        better = {change.case for change in changes if change.verdict == "better"}
        better = sorted(better & passed)  # others would not be accepted
        absent = not_in_baseline(results["cases"], self.baseline)
        for told, cases in (("better than the baseline", better), ("not in the baseline", absent)):
            if cases:
                self.lines.append(f"{told}: {', '.join(cases)}: record it with --update-baseline")
        if not self.regressions:
            self.lines.append(f"no regression from {self.path}: {len(changes)} figures compared")

    def _update(self, results: dict, folders: list[Path]) -> None:
        keys = [case_key(record) for record in results["cases"]]
        updated = update(self.baseline, results, keys, folders, self.metrics)
        baseline_file.write(self.path, updated.baseline, folders)
        self.lines.append(f"{self.path}: accepted {len(updated.taken)} cases")
        self.lines += [f"left as it was: {key}: {why}" for key, why in updated.left.items()]

    def _against_run(self, before: Run, results: dict) -> None:
        now = run_of(results, "this run", predictions_folders(self.config))
        compared = compare_runs(before, now, self.metrics)
        self.lines.append(reporting.headline(compared))
        self.lines += reporting.remarks(compared)
        self._add(compared.changes, self.limits, f"the run {before.name}")

    def _add(self, changes: Iterable[Change], limits: Mapping[str, Limit], against: str) -> None:
        """Puts what got worse by more than its limit into the results of the run."""
        self.regressions += [
            {
                "case": change.case,
                "figure": change.figure,
                "target": change.target,
                "against": against,
                "message": plain_text(sentence),
            }
            for change, sentence in beyond(changes, limits)
        ]

    def _report(self, regression: dict) -> None:
        """As a failed test of its own."""
        figure = "-".join(filter(None, (regression["figure"], regression["target"])))
        report = pytest.TestReport(
            nodeid=f"{regression['case']}::{figure}",
            location=(regression["case"], None, f"{regression['case']} {figure}"),
            keywords={},
            outcome="failed",
            longrepr=regression["message"],
            when="call",
        )
        setattr(report, REGRESSION, True)
        report_as_failed(report, self.config)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple | None:
        """The word for a regression in pytest's last lines."""
        return ("failed", "F", "REGRESSED") if hasattr(report, REGRESSION) else None

    @pytest.hookimpl(trylast=True)  # after the answer
    def pytest_terminal_summary(self, terminalreporter) -> None:
        if not (self.lines or self.regressions):
            return
        terminalreporter.section("int8gate: compared")
        for line in self.lines:
            terminalreporter.write_line(plain_text(line))
        for each in self.regressions:
            terminalreporter.write_line(f"REGRESSED {each['message']}", red=True)
