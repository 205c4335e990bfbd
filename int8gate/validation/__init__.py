"""What was measured, whether it may ship, and why.

    case_plan.py     what a case is, resolved once; case_stages.py what is done with it, in order
    case_run.py      one case on its way: each stage once, and so its failure
    measure.py       what each gate measures: the door of this room (accuracy_measurement.py,
                     measurement.py)
    gates/           from values to passed, failed, inconclusive or invalid, with a message
    evaluation.py    scores an artifact on the evaluation set (runs in the worker)
    metrics/         accuracy metrics (one registry, one signature)
    fidelity.py      how far outputs are from the float model's; agreement.py: its answers
    noninferiority.py  the paired test behind the accuracy gate; bootstrap.py: its resampling
    cached_results.py  what follows from files and evaluations alone, kept in the cache
    speed.py         latency on the host, float and quantized in turn; npu_entry.py: on targets
    error_origin.py  where a quantized network leaves the float one (error_trace.py)
    causes.py        why a model scores less; rerun.py: the command that a failure names
    preprocessing_mismatch.py  whether a team's own classifier is fed as it was trained
    expectations.py  tolerances and declared exceptions of each case, from expectations.toml
    record.py        the case record; results_model.py: `results.json` as types
    verdict.py       how cases and runs end; shipping.py: which recipe ships, and its file
    case_summary.py  the figures of a case that are followed over runs
    comparing/       runs beside each other: baselines, histories, limits

Nothing is imported here: `expectations` is read while pytest collects and needs no numpy.
"""
