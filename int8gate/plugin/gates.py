"""The product: every model of the zoo with every recipe, a test for each gate.

`hooks.py` makes the cases; `validation/measure.py` measures; the rest is here to be read.
`tests/zoo/` collects these tests for the zoo, `collecting.py` for a TOML that declares models.
"""

import pytest

from int8gate.plugin.fixtures import RecordedClock


@pytest.mark.accuracy
def test_accuracy(int8_case, int8_gate):
    int8_gate("accuracy")


@pytest.mark.io_dtype
def test_io_dtype(int8_case, int8_gate):
    int8_gate("io_dtype")


@pytest.mark.integer_only
def test_integer_only(int8_case, int8_gate):
    int8_gate("integer_only")


@pytest.mark.size
def test_size(int8_case, int8_gate):
    int8_gate("size")


@pytest.mark.cpu_speedup
@pytest.mark.benchmark(group="host CPU (measured)", timer=RecordedClock())
def test_cpu_speedup(int8_case, int8_gate, int8_history):
    int8_gate("cpu_speedup", history=int8_history)


@pytest.mark.npu_speedup
@pytest.mark.benchmark(group="NPU (modelled)", timer=RecordedClock())
def test_npu_speedup(int8_case, target, int8_gate, int8_history, int8_cpu_baseline):
    int8_gate("npu_speedup", target, int8_cpu_baseline, history=int8_history)
