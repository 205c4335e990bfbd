"""Tests of one `xdist_group` on one worker of xdist, above all the gates of a case; cores for each.

pytest-xdist 3.8 tells its scheduler the group by changing the id of a test, which pytest 9.2 takes
no notice of: groups fall apart without a word (pytest-xdist issue 1386). Here the scheduler gets
ids that name the group, and tests keep their own, by which reports and `--last-failed` know them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# How many threads OpenMP (torch), OpenBLAS and MKL (numpy) start where nobody tells them.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """`-n` alone keeps groups together; another `--dist` that somebody asks for is used."""
    if getattr(config.option, "numprocesses", None) and config.option.dist in ("no", "load"):
        config.option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("xdist"):  # -p no:xdist: the cases carry its mark
        config.addinivalue_line("markers", "xdist_group(name): the gates of a case stay together")
    elif processes := config.getoption("numprocesses"):
        _share_cores(processes)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    if config.option.dist != "loadgroup":
        return None
    from int8gate.plugin.scheduling import GroupScheduling

    return GroupScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    """A worker tells the scheduler its tests."""
    items = session.items
    if hasattr(session.config, "workerinput"):
        session.items = [_Named(item) for item in items]
    try:
        return (yield)
    finally:
        session.items = items


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: pytest.TestReport, sched) -> None:
    """A test that took its worker along is reported by its own id, not by the scheduler's for it.

    Opening the cache sweeps what the dead worker was building.
    """
    from int8gate.engine.cache import open_cache

    report.nodeid = _plain(report.nodeid)
    open_cache(sched.config.getoption("int8_artifact_cache"))


def _share_cores(processes: int) -> None:
    """Else each process takes all cores, and its threads spin while they wait for one."""
    from joblib import cpu_count

    share = max(1, cpu_count() // processes)
    for name in THREADS:
        os.environ.setdefault(name, str(share))


class _Named:
    """A test under the id that the scheduler understands: `id@group`."""

    def __init__(self, item: pytest.Item):
        self._item = item
        names = {_name(*mark.args, **mark.kwargs) for mark in item.iter_markers("xdist_group")}
        group = f"@{'_'.join(sorted(names))}" if names else ""
        self.nodeid = item.nodeid.removesuffix(group) + group

    def __getattr__(self, name: str):
        return getattr(self._item, name)


def _name(name: str = "default") -> str:
    return name


def _plain(nodeid: str) -> str:
    """Without the group, which stands behind the parameters or the function."""
    end = max(nodeid.rfind("]") + 1, nodeid.rfind("::"))
    return nodeid[:end] + nodeid[end:].partition("@")[0]
