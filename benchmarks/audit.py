"""How often the audit of a calibration set raises a false alarm, and how often it finds a fault.

    python -m benchmarks.audit [--quick] [--only "noise"] [--detector domain --detector inverted]

Clean sets are random subsets of the scenes of all tasks, of pieces of photographs, and of
handwritten digits, with a disjoint evaluation set of the same kind or of the scenes' own evaluation
split. Each is audited as a whole; a finding of any severity is a false alarm of its kind. Spoiled
sets are clean ones with one fault, and count as detected when its kind is found.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import stats

from benchmarks import audit_material, audit_spoiling
from int8gate.calibration_data.audit import DETECTORS, Audited, AuditSet, Finding, audit

CLEAN, SPOILED = 400, 40
COUNT, SCORED = (100, 220), (100, 260)  # samples of a set
ADVICE_ONLY = "few_samples"  # said of every set below 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sets")
    parser.add_argument("--only", default="", help="spoilings with this in their name")
    parser.add_argument(
        "--detector", action="append", choices=DETECTORS, help="run these alone, and no others"
    )
    arguments = parser.parse_args()
    find = partial(found, arguments.detector)
    pools = list(audit_material.pools(arguments.quick))
    share = 0.1 if arguments.quick else 1
    alarms, count = false_alarms(find, pools, round(CLEAN * share))
    print_alarms(alarms, count)
    print(f"\n{'spoiling':34} {'kind':26} {'sets':>5} {'detected':>9}")
    for spoiling in audit_spoiling.SPOILINGS:
        if arguments.only in spoiling.name:
            print_detection(find, spoiling, pools, max(5, round(SPOILED * share)))
    if not arguments.detector:
        print_time()


def found(detectors: list[str] | None, *sets, **expected) -> list[Finding]:
    """What the audit finds, or these of its detectors alone."""
    if not detectors:
        return audit(*sets, **expected)
    known = {"classes": None, "value_range": None, "minimum": 1} | expected
    audited = Audited(*sets, **known)
    return [finding for name in detectors for finding in DETECTORS[name](audited)]


def false_alarms(find, pools: list, count: int) -> tuple[Counter, int]:
    alarms: Counter = Counter()
    for number in range(count):
        rng = np.random.default_rng([1, number])
        pool = pools[number % len(pools)]
        calibration, evaluation = drawn(rng, pool, own_splits=number // len(pools) % 2 == 1)
        if number // len(pools) % 4 >= 2:  # network inputs alone
            calibration, evaluation = (replace(s, pictures=None) for s in (calibration, evaluation))
        kinds = {
            finding.kind: finding.evidence
            for finding in find(calibration, evaluation, value_range=(-1, 1), minimum=1)
        }
        kinds.pop(ADVICE_ONLY, None)
        alarms.update(kinds.keys())
        for kind, evidence in kinds.items():
            print(f"false alarm on {pool.name}, set {number}: {kind}: {evidence}")
    return alarms, count


def drawn(rng, pool, own_splits: bool) -> tuple[AuditSet, AuditSet]:
    sizes = (int(rng.integers(*limits)) for limits in (COUNT, SCORED))
    return audit_material.draw(rng, pool, *sizes, own_splits)


def print_alarms(alarms: Counter, count: int) -> None:
    print(f"{'kind':26} {'clean sets':>10} {'false alarms':>12} {'upper 95% bound':>15}")
    for kind in sorted({s.kind for s in audit_spoiling.SPOILINGS} | set(alarms)):
        bound = stats.beta.ppf(0.95, alarms[kind] + 1, count - alarms[kind])
        print(f"{kind:26} {count:10} {alarms[kind]:12} {bound:15.1%}")


def print_detection(find, spoiling, pools: list, count: int) -> None:
    fitting = [pool for pool in pools if spoiling.fits(pool)]
    missed = Counter()
    for number in range(count):
        rng = np.random.default_rng([2, number])
        pool = fitting[number % len(fitting)]
        sets = spoiling.spoil(rng, *drawn(rng, pool, own_splits=False))
        kinds = {finding.kind for finding in find(*sets, **spoiling.options)}
        if spoiling.kind not in kinds:
            missed[pool.name] += 1
    said = ", ".join(f"{name} {times}" for name, times in missed.items())
    detected = 1 - missed.total() / count
    print(
        f"{spoiling.name:34} {spoiling.kind:26} {count:5} {detected:9.1%}"
        + (f"  missed: {said}" if said else ""),
        flush=True,
    )


def print_time() -> None:
    """500 pictures of 224x224 against 2,000, inputs given, 300 of evaluation's."""
    photographs = audit_material.photographs(256)
    rng = np.random.default_rng(3)

    def pictures(count: int) -> np.ndarray:
        corners = rng.integers(0, 32, (count, 2), endpoint=True)
        chosen = rng.integers(0, len(photographs), count)
        return np.stack(
            [
                photographs[row][top : top + 224, left : left + 224]
                for row, (top, left) in zip(chosen, corners, strict=True)
            ]
        )

    labels = rng.integers(0, 10, 500)
    calibration = audit_material.with_inputs(AuditSet(pictures(500), labels=labels))
    scored = pictures(2000)
    inputs = scored[:300].astype(np.float32) / np.float32(127.5) - 1
    evaluation = AuditSet(scored, inputs)
    wall, cpu = time.perf_counter(), time.process_time()
    audit(calibration, evaluation, 10, (-1, 1))
    print(
        f"\n500 pictures of 224x224 against 2,000: {time.perf_counter() - wall:.1f} s, "
        f"{time.process_time() - cpu:.1f} s of CPU"
    )


if __name__ == "__main__":
    main()
