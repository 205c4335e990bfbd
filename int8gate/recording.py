"""The case records of a run: taken from what each gate hands over, written to `--report`."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reporting import begin_report, write_report, write_results
from reporting.terminal import summary_lines
from validation import record as records

RECORDS = pytest.StashKey["Records"]()
RECORD_PROPERTY = "int8gate"  # of a test's report: how a measurement travels between processes


class Records:
    """The case records of a run, in every process; the one that reports has them all."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.cases: dict[tuple, dict] = {}
        self.finished = False

    def of(self, case: tuple) -> dict:
        """The record of (model, recipe, task, source format)."""
        if tuple(case) not in self.cases:
            profile = self.config.getoption("--profile")
            self.cases[tuple(case)] = records.new_case(*case, profile=profile)
        return self.cases[tuple(case)]

    def take(self, told: dict) -> None:
        gate_found = (told["gate"], told["status"], told["message"], told["fields"])
        records.add(self.of(told["case"]), *gate_found)

    def results(self) -> dict:
        command = shlex.join(["pytest", *self.config.invocation_params.args])
        profile = self.config.getoption("--profile")
        about = records.environment(profile, self.started, command, self.finished)
        return records.results(list(self.cases.values()), about)

    def pytest_benchmark_update_json(self, output_json: dict) -> None:
        """The history that pytest-benchmark saves holds every case, also those without rounds."""
        output_json["int8gate"] = self.results()

    def begin(self) -> None:
        if self.reports_to:
            begin_report(self.results(), self.reports_to)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes what a worker of xdist found, and writes it down before anything can be lost."""
        told = [value for name, value in report.user_properties if name == RECORD_PROPERTY]
        for one in told:
            self.take(one)
        if told and report.when == "teardown" and self.reports_to:
            write_results(self.results(), self.reports_to)

    def pytest_terminal_summary(self, terminalreporter, exitstatus: int) -> None:
        self.finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not self.cases:
            return
        results = self.results()
        terminalreporter.section("int8gate")
        width = terminalreporter._tw.fullwidth
        for line, style in summary_lines(results, width):
            terminalreporter.write_line(line, **style)
        if self.reports_to:
            write_report(results, self.reports_to)
            terminalreporter.write_line(f"report: {self.reports_to / 'report.html'}")

    @property
    def reports_to(self) -> Path | None:
        """Where to write; None without `--report`, and in the workers of xdist."""
        is_worker = hasattr(self.config, "workerinput")
        return None if is_worker else self.config.getoption("--report")
