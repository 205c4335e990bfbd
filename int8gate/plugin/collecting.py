"""The gates as tests of the file that declares the models: `models.toml::test_size[gadget-...]`.

So their ids can be pasted, and `--last-failed` finds the file of what failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from int8gate.plugin.cases import parameters
from int8gate.plugin.requested import GATES, ZOO_TESTS, requested_by
from int8gate.plugin.workarounds import collect_too

NO_CASE = "no case"  # what pytest makes a skipped test of


class Gates(pytest.Module):
    """The tests of `gates.py`, under the path of the file that declares the models."""

    def _getobj(self) -> ModuleType:
        from int8gate.plugin import gates

        return gates

    def funcnamefilter(self, name: str) -> bool:
        """The gates that have a case, whatever the repository's settings call a test."""
        return name.startswith("test_") and bool(
            parameters(self.config, self.path, name.removeprefix("test_"))
        )

    def classnamefilter(self, name: str) -> bool:
        return False


class Collecting:
    """Collects the gates that a run is asked for, and ends a run in which some are missing."""

    def __init__(self, config: pytest.Config):
        self.config = config
        requested = requested_by(config)
        self.is_checkout = requested.is_checkout
        self.files = {
            *requested.files,
            *([GATES] if requested.zoo and not self.is_checkout else []),
        }
        self.collected: set[Path] = set()
        self.opened: set[Path] = set()  # folders that pytest would pass over

    def add_files(self) -> None:
        """Adds what pytest is to collect and the command line does not name."""
        here = self.config.invocation_params.dir
        args = self.config.args
        option = self.config.getoption
        if self.is_checkout and option("int8_zoo") and not self._names_tests:
            args = [str(ZOO_TESTS)] if requested_by(self.config).zoo else []
        if option("int8_case") and not self.is_checkout and not self._names_tests:
            args = []  # nothing else is wanted
        named = {Path(os.path.abspath(here / arg.partition("::")[0])) for arg in args}
        collect_too(self.config, args, sorted(self.files - named))

    @property
    def _names_tests(self) -> bool:
        return self.config.args_source == pytest.Config.ArgsSource.ARGS

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Gates | None:
        if file_path in self.files and file_path.suffix != ".py":
            return self._gates(file_path, parent)
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent) -> Gates | None:
        return self._gates(module_path, parent) if module_path in self.files else None

    def _gates(self, file: Path, parent: pytest.Collector) -> Gates:
        self.collected.add(file)
        if not _is_outside(file, self.config):
            return Gates.from_parent(parent, path=file)
        # pytest has no name for what stands outside of the root folder and is named itself
        return Gates.from_parent(
            parent, path=file, nodeid=os.path.relpath(file, self.config.rootpath)
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> pytest.CollectReport | None:
        """`--last-failed` finds no file outside of the root folder, and would pass over the gates;
        those that did not fail it leaves out later.
        """
        if isinstance(collector, Gates) and _is_outside(collector.path, self.config):
            found = list(collector.collect())
            return pytest.CollectReport(collector.nodeid, "passed", None, found)
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_ignore_collect(self, collection_path: Path) -> Iterator[None]:
        """Lets pytest into folders that it would pass over, `build` or `.venv`, to these files.

        Where it collects from a folder above, it forgets that they were named.
        """
        is_ignored = yield
        is_way = any(collection_path in file.parents for file in self.files)
        if is_ignored and is_way:
            self.opened.add(collection_path)
            return False
        is_wanted = is_way or collection_path in self.files
        return is_ignored or (not is_wanted and not self.opened.isdisjoint(collection_path.parents))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """One case after another, so that an interrupted run holds whole cases.

        Raises UsageError where a file with gates was not collected.
        """
        if missing := sorted(self.files - self.collected):
            raise pytest.UsageError(
                f"{missing[0]} is not collected, so that its gates would be left out: pytest "
                "is told to ignore it"
            )
        order: dict = {}
        for item in items:
            order.setdefault(_case_of(item), len(order))
        items[:] = [item for item in items if _case_of(item) is not NO_CASE]
        items.sort(key=lambda item: order[_case_of(item)])


def _case_of(item: pytest.Item) -> tuple | str | None:
    """(model, recipe) of a gate; None of another test."""
    if "int8_case" not in getattr(item, "fixturenames", ()):
        return None
    assert isinstance(item, pytest.Function)
    case = item.callspec.params["int8_case"]
    return case if isinstance(case, tuple) else NO_CASE


def _is_outside(file: Path, config: pytest.Config) -> bool:
    return not file.is_relative_to(config.rootpath)
