"""What pytest has no public hook for, each with the reason; nothing of a plugin is replaced.

- `collect_too`: hooks refuse files and make collectors of them, none gives a session more of them.
  `pytest_load_initial_conftests` may add arguments, which then count as given: `testpaths` is lost.
- `leave_out_warning`: filters of warnings are read after the plugins of the environment are loaded.
- `report_as_failed`: a failure that is no test's goes to whoever listens to reports, but for three:
  the terminal counts it in a progress that is at 100%, and what remembers failed tests would look
  for it in the next run.

Why xdist's groups are not used: `grouping.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

NOT_FOR = ("lfplugin", "stepwiseplugin", "terminalreporter")


def collect_too(config: pytest.Config, args: Iterable[str], files: Iterable[Path]) -> None:
    """Lets the session collect these files behind these arguments of the command line."""
    config.args = [*args, *map(str, files)]


def leave_out_warning(words: str, config: pytest.Config) -> None:
    """Takes a warning out of the summary of those that plugins raised when they were loaded."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and (raised := reporter.stats.get("warnings")):
        raised[:] = [warning for warning in raised if words not in warning.message]


def report_as_failed(report: pytest.TestReport, config: pytest.Config) -> None:
    """Hands a failure to JUnit and whoever else listens to reports, and to the last lines."""
    manager = config.pluginmanager
    hook = manager.subset_hook_caller(
        "pytest_runtest_logreport", [manager.get_plugin(name) for name in NOT_FOR]
    )
    hook(report=report)
    if reporter := manager.get_plugin("terminalreporter"):
        reporter.stats.setdefault("failed", []).append(report)
