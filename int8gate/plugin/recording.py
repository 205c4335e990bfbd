"""The case records of a run: taken from what each gate hands over, written to `--report`."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pytest

from int8gate.engine.errors import plain_text
from int8gate.plugin.cases import Gate
from int8gate.plugin.models import MODELS, declared_metrics
from int8gate.plugin.predictions import predictions_folders
from int8gate.plugin.selecting import gate_id
from int8gate.reporting import ReportError, ResultsFile, begin_report, write_report
from int8gate.reporting.rescue import ladder_lines
from int8gate.reporting.terminal import resuming_lines, summary_lines
from int8gate.validation import record as records
from int8gate.validation.verdict import run_answer

RECORDS = pytest.StashKey["Records"]()
GATE_RESULTS = pytest.StashKey[list[dict]]()  # of a test: what its gate found
WORDS = {"inconclusive": "INCONCLUSIVE", "invalid": "INVALID", "not_measured": "NOT_JUDGED"}
NO_COMMIT = (None, "", "unknown", "unversioned")  # words of pytest-benchmark
REPORTED = "int8gate"  # the attribute of a test's report that brings it from a worker of xdist


class Records:
    """The case records of a run, in every process; the one that reports has them all."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.cases: dict[tuple, dict] = {}
        self.regressions: list[dict] = []
        self.methods: list[dict] = []  # of each model compared, once the run ends
        self.finished = False
        self._existing: dict[tuple[str, str], Gate] = {}
        self._pending: dict[tuple, dict[tuple[str, str], None]] = {}  # gates to come, by case
        self._changed: dict[tuple, dict] = {}  # cases whose text in `_file` is old
        self._file: ResultsFile | None = None
        self.unwritten = ""  # why the report could not be written, the last time

    def of(self, case: tuple) -> dict:
        """The record of (model, recipe, task, source format)."""
        if tuple(case) not in self.cases:
            profile = self.config.getoption("int8_profile")
            self.cases[tuple(case)] = records.new_case(*case, profile=profile)
        return self.cases[tuple(case)]

    def expect(self, existing: Iterable[Gate], selected: Iterable[Gate]) -> None:
        """Begins the record of every case of which a gate is selected."""
        selected = list(selected)
        self._existing = {gate.key: gate for gate in existing}
        chosen = {gate.key for gate in selected}
        self._pending = {gate.case: {} for gate in selected}
        deselected: dict[tuple, list[str]] = {gate.case: [] for gate in selected}
        for gate in self._existing.values():
            if gate.key in chosen:
                self._pending[gate.case][gate.key] = None
            elif gate.case in deselected:
                deselected[gate.case].append(gate.name)
        for case, names in deselected.items():
            self.of(case)["deselected"] = list(dict.fromkeys(names))
            self._settle(case)
        self._write(self._update)

    def take(self, result: dict) -> None:
        case = tuple(result["case"])
        entry = (result["gate"], result["status"], result["message"], result["fields"])
        self._pending.get(case, {}).pop((result["gate"], result["label"]), None)
        records.add(self._settle(case), *entry)

    def _settle(self, case: tuple) -> dict:
        """The record of a case, which says what is still to come."""
        record = self._changed[case] = self.of(case)
        record["pending"] = list(dict.fromkeys(gate for gate, _ in self._pending.get(case, {})))
        records.judge(record)
        return record

    def results(self) -> dict:
        command = shlex.join(["pytest", *self.config.invocation_params.args])
        profile, weights = (
            self.config.getoption(f"int8_{name}") for name in ("profile", "weights")
        )
        about = records.environment(
            profile, self.started, command, self.finished, weights, self.commit
        )
        return records.results(list(self.cases.values()), about, self.regressions, self.methods)

    @cached_property
    def commit(self) -> str | None:
        """Of the repository that is gated: 9 digits, and + where files were changed since."""
        ask = getattr(self.config.hook, "pytest_benchmark_generate_commit_info", None)
        about = (ask and ask(config=self.config)) or {}
        known = about.get("id")
        if known in NO_COMMIT:
            return None
        return f"{known[:9]}{'+' * bool(about.get('dirty'))}"

    def begin(self) -> None:
        if self.reports_to:
            begin_report(self.results(), self.reports_to)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Sends along what the gate found; names in files of others steer no terminal."""
        report = yield
        if results := item.stash.get(GATE_RESULTS, None):
            setattr(report, REPORTED, results)
        if gate_id(item.nodeid) and report.failed:
            text = report.longreprtext
            if plain_text(text) != text:
                report.longrepr = plain_text(text)
            report.sections = [(name, plain_text(content)) for name, content in report.sections]
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple | None:
        """The word of a gate that neither passed nor failed: pytest's last lines begin with it."""
        results = getattr(report, REPORTED, None)
        if results and report.failed and report.when == "call" and results[-1]["status"] in WORDS:
            return "failed", "F", WORDS[results[-1]["status"]]
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes what a worker of xdist found, and writes it down before anything can be lost."""
        results = getattr(report, REPORTED, [])
        lost = self._lost(report) if report.failed and not results else []
        for result in results + lost:
            self.take(result)
        if (results and report.when == "teardown") or lost:
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
        gate = self._existing.get(gate_id(report.nodeid))
        if gate is None:
            return []
        crash = getattr(report.longrepr, "reprcrash", None)
        words = crash.message.strip().splitlines()[:1] if crash else []
        words = words or report.longreprtext.strip().splitlines()
        message = plain_text(words[-1]) if words else "the gate ended without a word"
        about = {"case": gate.case, "gate": gate.name, "label": gate.label}
        return [about | {"status": "error", "message": message, "fields": {}}]

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
            if self.reports_to:
                self.methods = self._compared()
            self._write(write_report)
        fails = self.unwritten or (self.cases and run_answer(self.results()).exit_code)
        if fails and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _compared(self) -> list[dict]:
        """The recipes of each model, in pairs by what each sample scored."""
        from int8gate.analysis.methods import summaries
        from int8gate.validation.comparing.history import run_of

        results = self.results()
        scored = [record for record in results["cases"] if record["accuracy"]]
        if len({record["model"] for record in scored}) == len(scored):
            return []
        run = run_of(results, "this run", predictions_folders(self.config))
        return summaries(run, declared_metrics(self.config.stash[MODELS].values()))

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if not self.cases:
            return
        terminalreporter.section("int8gate")
        width = self.config.get_terminal_writer().fullwidth
        results = self.results()
        for line, style in [*summary_lines(results, width), *self._resuming(results, width)]:
            terminalreporter.write_line(line, **style)
        for record in results["cases"]:
            if record["rescue"]:
                terminalreporter.section(f"rescue of {record['model']}-{record['recipe']}", "-")
                terminalreporter.write("\n".join((*ladder_lines(record["rescue"]), "")))
        if self.unwritten:
            terminalreporter.write_line(f"NO REPORT: {self.unwritten}", red=True)
        elif self.reports_to:
            terminalreporter.write_line(f"report: {self.reports_to / 'report.html'}")

    def _resuming(self, results: dict, width: int) -> list:
        """How to go on with a run that did not finish."""
        if self.finished:
            return []
        caches = self.config.getoption("int8_artifact_cache") != "none"
        return resuming_lines(results, width, caches)

    @property
    def reports_to(self) -> Path | None:
        """Where to write; None without `--report`, and in the workers of xdist."""
        is_worker = hasattr(self.config, "workerinput")
        return None if is_worker else self.config.getoption("int8_report")
