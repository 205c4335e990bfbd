"""The gates: each is one function from measured values to a `GateResult`.

    accuracy.py  the score, and the test of its drop
    fidelity.py  the outputs against the float model's, where nothing is scored
    form.py      operators, size, what goes in and out
    speed.py     latency on the host and on NPUs, generation with a cache
    result.py    `GateResult`

A gate never raises for what it judges: it says passed, failed, inconclusive or invalid, with the
numbers. A failed one's message says what was measured, what was allowed, the likely cause, and the
command to run next.
"""

from int8gate.validation.gates.accuracy import (
    accuracy_gate,
    labels_gate,
    reference_gate,
    too_few_samples,
    worst_part,
)
from int8gate.validation.gates.fidelity import (
    export_gate,
    fidelity_gate,
    floor_gate,
    picture_gate,
)
from int8gate.validation.gates.form import (
    float_refused_by,
    float_refused_gate,
    integer_only_gate,
    io_dtype_gate,
    raw_pixels_gate,
    size_gate,
)
from int8gate.validation.gates.result import GateResult, failed, with_origin, with_way_out
from int8gate.validation.gates.speed import (
    cpu_speed_gate,
    generation_gate,
    is_arm_host,
    npu_speed_gate,
    simulated_gate,
)

__all__ = [
    "GateResult",
    "accuracy_gate",
    "cpu_speed_gate",
    "export_gate",
    "failed",
    "fidelity_gate",
    "float_refused_by",
    "float_refused_gate",
    "floor_gate",
    "generation_gate",
    "integer_only_gate",
    "io_dtype_gate",
    "is_arm_host",
    "labels_gate",
    "npu_speed_gate",
    "picture_gate",
    "raw_pixels_gate",
    "reference_gate",
    "simulated_gate",
    "size_gate",
    "too_few_samples",
    "with_origin",
    "with_way_out",
    "worst_part",
]
