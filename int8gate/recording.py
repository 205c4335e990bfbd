"""The case records of a run: taken from what each gate hands over, written to `--report`."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from int8gate.models import MODELS
from reporting import ReportError, ResultsFile, begin_report, write_report
from reporting.terminal import summary_lines
from validation import record as records

RECORDS = pytest.StashKey["Records"]()
RECORD_PROPERTY = "int8gate"  # of a test's report: how a measurement travels between processes
GATE_ID = re.compile(r"::test_(?P<gate>\w+)\[(?P<label>.+)\]$")


class Records:
    """The case records of a run, in every process; the one that reports has them all."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.cases: dict[tuple, dict] = {}
        self.finished = False
        self._changed: dict[tuple, dict] = {}  # cases whose text in `_file` is old
        self._file: ResultsFile | None = None
        self.unwritten = ""  # why the report could not be written, the last time

    def of(self, case: tuple) -> dict:
        """The record of (model, recipe, task, source format)."""
        if tuple(case) not in self.cases:
            profile = self.config.getoption("int8_profile")
            self.cases[tuple(case)] = records.new_case(*case, profile=profile)
        return self.cases[tuple(case)]

    def take(self, told: dict) -> None:
        gate_found = (told["gate"], told["status"], told["message"], told["fields"])
        record = self._changed[tuple(told["case"])] = self.of(told["case"])
        records.add(record, *gate_found)

    def results(self) -> dict:
        command = shlex.join(["pytest", *self.config.invocation_params.args])
        profile = self.config.getoption("int8_profile")
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
        lost = self._lost(report) if report.failed and not told else []
        for one in told + lost:
            self.take(one)
        if (told and report.when == "teardown") or lost:
            self._write(self._update)

    def _update(self, results: dict, directory: Path) -> None:
        """Writes the records so far; only those that changed are put into words again."""
        self._file = self._file or ResultsFile(directory)
        for record in self._changed.values():
            self._file.put(record)
        self._changed.clear()
        self._file.write(results)

    def _lost(self, report: pytest.TestReport) -> list[dict]:
        """The error of a gate that ended before it could tell: its process died, or a fixture."""
        found = GATE_ID.search(report.nodeid)
        if not found or found["gate"] not in records.GATES:
            return []
        crash = getattr(report.longrepr, "reprcrash", None)
        said = crash.message.strip().splitlines()[:1] if crash else []
        said = said or report.longreprtext.strip().splitlines()
        return [
            {
                "case": (spec.name, recipe, spec.task, spec.source_format),
                "gate": found["gate"],
                "status": "error",
                "message": said[-1] if said else "the gate ended without a word",
                "fields": {},
            }
            for spec in self.config.stash[MODELS].values()
            for recipe in spec.recipes
            if f"{found['label']}-".startswith(f"{spec.name}-{recipe}-")
        ]

    def _write(self, write) -> None:
        """Writes to `--report`; a full disk takes no run down, the end of the run tells it."""
        if self.reports_to:
            try:
                write(self.results(), self.reports_to)
                self.unwritten = ""
            except ReportError as error:
                self.unwritten = str(error)

    @pytest.hookimpl(tryfirst=True)  # what others save of the run says whether it finished
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self.finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if self.cases:
            self._write(write_report)
        if self.unwritten and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if not self.cases:
            return
        terminalreporter.section("int8gate")
        width = terminalreporter._tw.fullwidth
        for line, style in summary_lines(self.results(), width):
            terminalreporter.write_line(line, **style)
        if self.unwritten:
            terminalreporter.write_line(f"NO REPORT: {self.unwritten}", red=True)
        elif self.reports_to:
            terminalreporter.write_line(f"report: {self.reports_to / 'report.html'}")

    @property
    def reports_to(self) -> Path | None:
        """Where to write; None without `--report`, and in the workers of xdist."""
        is_worker = hasattr(self.config, "workerinput")
        return None if is_worker else self.config.getoption("int8_report")
