"""One contender of `calibration.py`, in a process of its own.

    python benchmarks/calibration_contenders.py NAME MODEL SAMPLES COUNT

prints JSON: wall and CPU seconds of each part, and the peak of resident memory in bytes. The
process is bound to one core, as ONNX Runtime's calibrators take no number of threads. Loading of
modules is not timed; opening the model is. ONNX Runtime's calibrators watch the tensors that its
`quantize_static` has them watch.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib  # noqa: F401 (loaded here, not while the clock runs)
import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from int8gate.quantizers.calibration import shards, thresholds
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.runtimes import ort

Seconds = dict[str, tuple[float, float]]
_INPUT = "pictures"


@contextlib.contextmanager
def _timed(seconds: Seconds, part: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[part] = time.perf_counter() - wall, time.process_time() - cpu


class Reader(CalibrationDataReader):
    """The samples, one after another, for ONNX Runtime's calibrators and for bare inference."""

    def __init__(self, samples: Path, count: int) -> None:
        self._stored = SampleFile(samples)
        self._numbers = iter(range(count))

    def get_next(self) -> dict | None:
        number = next(self._numbers, None)
        if number is None:
            return None
        (sample,) = self._stored.sample(number)
        return {_INPUT: np.ascontiguousarray(sample.transpose(0, 3, 1, 2))}


def bare(model: Path, samples: Path, count: int) -> Seconds:
    seconds: Seconds = {}
    with _timed(seconds, "collect"):
        session = ort.open_model(model, ort.options())
        for feeds in iter(Reader(samples, count).get_next, None):
            session.run(None, feeds)
    return seconds


def ours(model: Path, samples: Path, count: int) -> Seconds:
    """All of it: digests, shards, their files, merging; then the ranges by each method."""
    seconds: Seconds = {}
    with tempfile.TemporaryDirectory() as directory:
        few = Path(directory) / "samples.npy"
        _cut(samples, few, count)
        with _timed(seconds, "collect"):
            kept = Path(directory) / "shards"
            table = shards.calibrate(onnx_collector.collect, model, few, kept)
    for method in ("min_max", "percentile", "entropy", "mse"):
        with _timed(seconds, method):
            thresholds.ranges(table, method)
    return seconds


def _cut(samples: Path, target: Path, count: int) -> None:
    """The first samples in a file of their own; written, as mapped pages count as memory."""
    stored = SampleFile(samples)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, *stored.shapes[0])}
    with open(target, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for number in range(count):
            file.write(stored.sample(number)[0].tobytes())


def _onnxruntime(method: CalibrationMethod, **options) -> Callable[[Path, Path, int], Seconds]:
    def contender(model: Path, samples: Path, count: int) -> Seconds:
        seconds: Seconds = {}
        watched = list({*QLinearOpsRegistry, *QDQRegistry})
        with tempfile.TemporaryDirectory() as directory, _timed(seconds, "collect"):
            calibrator = create_calibrator(
                model,
                watched,
                str(Path(directory) / "augmented.onnx"),
                method,
                extra_options=options,
            )
            with contextlib.redirect_stdout(sys.stderr):
                calibrator.collect_data(Reader(samples, count))
                calibrator.compute_data()
        return seconds

    return contender


CONTENDERS = {
    "bare": bare,
    "ours": ours,
    "ort_min_max": _onnxruntime(CalibrationMethod.MinMax),
    "ort_entropy": _onnxruntime(CalibrationMethod.Entropy),
    "ort_entropy_2048": _onnxruntime(CalibrationMethod.Entropy, num_bins=2048),
    "ort_percentile": _onnxruntime(CalibrationMethod.Percentile),
}


def main(name: str, model: str, samples: str, count: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    seconds = CONTENDERS[name](Path(model), Path(samples), int(count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
