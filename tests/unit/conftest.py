"""Tests that interrupt a process also run in the background: what a shell starts there
(`nohup make test &`) ignores Ctrl+C, and hands that down to its children.

And on busy machines: hypothesis fails no property because drawing an example took long.

Runs of pytest in the same process collect garbage as they end. What the process holds before a test
begins (PyTorch and TensorFlow among it) is left out of that: looked through again, it took longer
than the runs themselves.
"""

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from int8gate.engine.worker import Worker

settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.unfreeze()


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """The process that converters run in, one for all tests: it imports a framework once."""
    with Worker() as shared:
        shared.run("time:sleep", 0, timeout_s=120)  # starts it here, in no test's folder
        yield shared
