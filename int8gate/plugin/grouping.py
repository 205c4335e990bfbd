"""`-n`: the gates of a case on one worker of xdist, and cores for each worker.

`--dist worksteal` hands out neighbours together, and `collecting.py` sorts the gates by case; what
a worker leaves when it dies goes to the others. xdist has no mode that promises both: `loadgroup`
has no groups with pytest 9.2 (pytest-xdist issue 1386), and it as `loadscope` runs a test that
killed its worker again, or waits for ever (issues 1323 and 1378). So a case is split only where
the queue of a worker is: its gates then read from the cache what the others made.
"""

from __future__ import annotations

import os

import pytest

# How many threads OpenMP (torch), OpenBLAS and MKL (numpy) start where nobody tells them.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pytest_configure(config: pytest.Config) -> None:
    if processes := getattr(config.option, "numprocesses", None):
        _share_cores(processes)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(sched) -> None:
    """Opens the cache where a worker has died, which sweeps what it was building."""
    from int8gate.engine.cache import open_cache

    open_cache(sched.config.getoption("int8_artifact_cache"))


def _share_cores(processes: int) -> None:
    """Else each process takes all cores, and its threads spin while they wait for one."""
    from joblib import cpu_count

    share = max(1, cpu_count() // processes)
    for name in THREADS:
        os.environ.setdefault(name, str(share))
