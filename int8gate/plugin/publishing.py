"""What leaves a run: the files that may ship (`--artifacts`), the run itself for comparisons
(`--benchmark-autosave`), and what GitHub shows of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from int8gate.plugin.models import MODELS_IN_FILE
from int8gate.plugin.predictions import runs_folder, saves
from int8gate.plugin.recording import RECORDS, Records
from int8gate.reporting import ReportError, write_results
from int8gate.validation.verdict import run_answer

SUMMARY, ON_GITHUB, WORKSPACE = "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"


class Publishing:
    """In the process that reports, once every record is complete."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.records: Records = config.stash[RECORDS]
        self.lines: list[str] = []
        self.failures: list[str] = []

    @pytest.hookimpl(trylast=True)  # what got worse than a baseline is known by then
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.config.option.collectonly or not self.records.cases:
            return
        results = self.records.results()
        if directory := self.config.getoption("int8_artifacts"):
            self._export(results, directory)
        if saves(self.config):
            self._save(results)
        if file := os.environ.get(SUMMARY):
            from int8gate.reporting import github

            self._append(Path(file), github.summary(results))
        if self.failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _export(self, results: dict, directory: Path) -> None:
        """Those that may ship; of the others of this run nothing stays from a run before."""
        from int8gate.validation import shipping

        ships = {id(record) for record in run_answer(results).may_ship}
        for record in results["cases"]:
            try:
                if id(record) in ships:
                    self.lines.append(f"to ship: {shipping.export(record, directory)}")
                else:
                    shipping.withdraw(record, directory)
            except (OSError, ValueError) as error:
                self.failures.append(f"NOT EXPORTED: {error}")

    def _save(self, results: dict) -> None:
        """As the next run of `--runs`, under the name that `--benchmark-save` gives."""
        from int8gate.validation.comparing.history import RESULTS, new_folder

        storage = runs_folder(self.config)
        about, name = results["environment"], self.config.getoption("benchmark_save", None)
        try:
            folder = new_folder(storage, about["commit"], about["started"], name)
            write_results(results, folder)
        except OSError as error:
            why = error if isinstance(error, ReportError) else f"{storage}: {error.strerror}"
            self.failures.append(f"NOT SAVED: {why}")
        else:
            self.lines.append(f"saved: {folder / RESULTS}")

    def _append(self, file: Path, text: str) -> None:
        try:
            with file.open("a", encoding="utf-8") as summary:
                summary.write(text)
        except OSError as error:
            self.lines.append(f"no summary in {file}: {error.strerror}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter) -> None:
        for line in self.lines:
            terminalreporter.write_line(line)
        for line in self.failures:
            terminalreporter.write_line(line, red=True)
        if os.environ.get(ON_GITHUB) == "true":
            from int8gate.reporting import github

            for command in github.annotations(self.records.results(), self._places()):
                terminalreporter.write_line(command)

    def _places(self) -> dict[str, tuple[Path, int]]:
        """Of the models that a file of the repository declares: the file, and the table's line."""
        workspace = Path(os.environ.get(WORKSPACE) or self.config.invocation_params.dir)
        return {
            name: (file.relative_to(workspace), _line_of(file, name))
            for file, names in self.config.stash[MODELS_IN_FILE].items()
            if file.is_relative_to(workspace)
            for name in names
        }


def _line_of(file: Path, model: str) -> int:
    table = re.compile(rf"\s*\[(tool\.int8gate\.)?models\.{re.escape(model)}\]")
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if table.match(line)), 1)
