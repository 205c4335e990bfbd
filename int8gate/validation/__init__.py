"""What was measured, whether it may ship, and why.

    case_plan.py     what a case is, resolved once; case_stages.py what is done with it, in order
    case_run.py      one case on its way: each stage once, and so its failure
    measure.py       what each gate measures: the door of this room
    gates/           from values to passed, failed, inconclusive or invalid, with a message
    evaluation.py    scores an artifact on the evaluation set (runs in the worker)
    metrics.py       accuracy metrics (one registry, one signature), fidelity
    statistics.py    the paired non-inferiority test behind the accuracy gate
    expectations.py  tolerances and declared exceptions of each case, from expectations.toml
    known_failures.py  gates that are known not to hold, and until when
    baseline.py      accepted results (baseline_file.py, baseline_tables.py: their TOML)
    history.py       runs of the past, and what changed from one to another
    changes.py       two sets of figures compared (by paired.py; limits.py says what may be lost)
    predictions.py   what each sample scored, kept for paired comparisons
    activation_audit.py  how much of the evaluation's activations calibration would clip
    speed.py         latency on the host, float and quantized in turn
    tasks.py         what a task is scored by
    record.py        the case record

Nothing is imported here: `expectations` is read while pytest collects and needs no numpy.
"""
