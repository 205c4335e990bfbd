"""The product: every model of the zoo with every recipe, a test for each gate.

`plugin.py` makes the cases; `validation/measure.py` measures; the rest is here to be read.
`tests/zoo/` collects these tests in this repository, the plugin in another one.
"""

import pytest

from validation import measure
from validation.speed import RecordedClock


@pytest.mark.accuracy
def test_accuracy(case_run, gate):
    gate(measure.accuracy)


@pytest.mark.io_dtype
def test_io_dtype(case_run, gate):
    gate(measure.io_dtype)


@pytest.mark.integer_only
def test_integer_only(case_run, gate):
    gate(measure.integer_only)


@pytest.mark.size
def test_size(case_run, gate):
    gate(measure.size)


@pytest.mark.cpu_speedup
@pytest.mark.benchmark(group="host CPU (measured)", timer=RecordedClock())
def test_cpu_speedup(case_run, gate, history):
    gate(measure.cpu_speedup, history=history)


@pytest.mark.npu_speedup
@pytest.mark.benchmark(group="NPU (modelled)", timer=RecordedClock())
def test_npu_speedup(case_run, target, gate, history, cpu_baseline):
    gate(measure.npu_speedup, target, cpu_baseline, history=history)
