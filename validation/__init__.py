"""What was measured, whether it may ship, and why.

    case_run.py      one case on its way through the rooms
    measure.py       what each gate measures: the door of this room
    gates.py         from values to passed, failed, inconclusive or invalid, with a message
    evaluation.py    scores an artifact on the evaluation set (runs in the worker)
    metrics.py       accuracy metrics (one registry, one signature), fidelity
    statistics.py    the paired non-inferiority test behind the accuracy gate
    expectations.py  tolerances and declared exceptions of each case, from expectations.toml
    speed.py         latency on the host, float and quantized in turn
    tasks.py         what a task is scored by
    record.py        the case record

Nothing is imported here: `expectations` is read while pytest collects and needs no numpy.
"""
