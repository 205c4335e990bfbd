"""A pytest plugin that says where the seconds of a run go; `framework_time.py` loads it.

Every second of the run's process belongs to exactly one label: the innermost of the named functions
that is running (`DOORS`), else the phase that pytest is in. A function that the worker process runs
is measured there, in wall seconds and in CPU seconds of all its threads, and taken out of the time
that the run waited for it. What is left between the two is the hand-over.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import os
import pickle
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pluggy  # not pytest, which the worker would import too

hookimpl = pluggy.HookimplMarker("pytest")
WRITES_TO = "FRAMEWORK_SPANS"  # the environment variable that names the file
STARTED = "FRAMEWORK_STARTED"  # and the one that says when, as time.time()
LIBRARIES = ("numpy", "onnxruntime", "ai_edge_litert", "tensorflow", "torch", "keras", "onnx")
IMPORTS = "measured: import of the runtimes"
TIMING = "measured: interleaved timing"
MEASURED = (IMPORTS, TIMING)
END = "pytest: end; helpers of its plugins"  # git, hg and file, which pytest-benchmark asks
DOORS = {  # module:function to label; the innermost counts
    "int8gate.engine.worker:Worker._hand_over": "worker: start and hand-over",
    "int8gate.engine.cache:ArtifactCache.get_or_build": "cache: look-ups",
    "int8gate.engine.cache_entry:sha256_of": "cache: bytes of entries read again",
    "int8gate.engine.cache_entry:cache_key": "cache: keys",
    "int8gate.quantizers.stage:Stage.identity": "keys: code and library versions",
    "int8gate.model_zoo.weights:Weights.identity.fget": "keys: weights files",
    "int8gate.quantizers.data_sets:DataSets.samples": "keys: data sets",
    "int8gate.quantizers.data_sets:check_calibration": "check of the calibration samples",
    "int8gate.runtimes.tflite_graph:read_graph": "gates: reading graphs",
    "int8gate.validation.cached_results:read_evaluation": "accuracy: reading kept evaluations",
    "int8gate.validation.cached_results:compared": "accuracy: statistics",
    "int8gate.validation.accuracy_measurement:accuracy": "accuracy: the rest",
    "int8gate.validation.measure:io_dtype": "gates: io_dtype",
    "int8gate.validation.measure:integer_only": "gates: integer_only",
    "int8gate.validation.measure:size": "gates: size",
    "int8gate.validation.measure:cpu_speedup": "gates: cpu_speedup",
    "int8gate.validation.measure:npu_speedup": "gates: npu_speedup",
    "int8gate.validation.case_run:expectations_of": "gates: expectations",
    "int8gate.plugin.predictions:store_predictions": "report: predictions kept",
    "int8gate.plugin.recording:Records.take": "report: records",
    "int8gate.plugin.recording:Records.results": "report: records",
    "int8gate.plugin.recording:Records.begin": "report: results.json",
    "int8gate.plugin.recording:Records._write": "report: results.json",
    "int8gate.plugin.recording:summary_lines": "report: terminal summary",
    "int8gate.validation.record:environment": "report: environment",
    "int8gate.reporting:_markdown": "report: report.md",
    "int8gate.reporting:_html": "report: report.html",
    "int8gate.reporting.html:pictures": "report: pictures",
}
DIGEST = "keys: data sets"


class Clock:
    """Wall and CPU seconds by label, each instant charged to the innermost label alone."""

    def __init__(self, label: str) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.calls: dict[str, int] = defaultdict(int)
        self._labels = [label]
        self._last = self._now()

    @contextmanager
    def span(self, label: str):
        self._charge()
        self._labels.append(label)
        self.calls[label] += 1
        try:
            yield
        finally:
            self._charge()
            self._labels.pop()

    def phase(self, label: str) -> None:
        """What is charged where no function is running."""
        self._charge()
        self._labels[0] = label

    def move(self, label: str, wall: float, cpu: float) -> None:
        """Wall seconds of another process out of the span that waits for it, CPU seconds added."""
        self._charge()
        self.spent[self._labels[-1]][0] -= wall
        self.add(label, wall, cpu)

    def add(self, label: str, wall: float, cpu: float) -> None:
        self.spent[label][0] += wall
        self.spent[label][1] += cpu

    def closed(self) -> dict:
        self._charge()
        return {"spent": dict(self.spent), "calls": dict(self.calls)}

    def _charge(self) -> None:
        now = self._now()
        of_label = self.spent[self._labels[-1]]
        of_label[0] += now[0] - self._last[0]
        of_label[1] += now[1] - self._last[1]
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


@contextmanager
def watched_imports(clock: Clock):
    """Charges the first import of each of `LIBRARIES` to `IMPORTS`: sessions cannot do without."""
    plain, seen = builtins.__import__, set()

    def watch(name, *arguments, **options):
        root = name.partition(".")[0]
        if root not in LIBRARIES or name in seen:
            return plain(name, *arguments, **options)
        seen.add(name)
        with clock.span(IMPORTS):
            return plain(name, *arguments, **options)

    builtins.__import__ = watch
    try:
        yield
    finally:
        builtins.__import__ = plain


def measured_task(module: str, name: str, payload: bytes) -> tuple:
    """In the worker: the function's value, seconds by label, and CPU seconds before it began."""
    before = time.process_time()
    task = TIMING if name == "interleave" else f"worker: {name}"
    clock = Clock(task)
    with watched_imports(clock):
        with clock.span(f"worker: imports of {module.partition('.')[0]}"):
            function = getattr(importlib.import_module(module), name)
            arguments, options = pickle.loads(payload)
        value = function(*arguments, **options)
    return value, clock.closed()["spent"], before


class Spans:
    """Wraps the doors, follows pytest's phases, writes what was spent at the very end."""

    def __init__(self) -> None:
        self.clock = Clock("pytest: plugins and configuration")
        started = time.time() - float(os.environ[STARTED])
        self.clock.add("pytest: Python's and its own start", started, time.process_time())
        self.misses: list[str] = []
        self._worker_cpu: dict[int, float] = {}

    @hookimpl(wrapper=True)
    def pytest_collection(self):
        self._wrap_all()
        self.clock.phase("pytest: collection")
        result = yield
        self.clock.phase("pytest: fixtures, hooks, reports of tests")
        return result

    def pytest_unconfigure(self) -> None:
        self.clock.phase(END)
        found = self.clock.closed() | {"misses": self.misses}
        Path(os.environ[WRITES_TO]).write_text(json.dumps(found))

    def _wrap_all(self) -> None:
        with self.clock.span("imports: int8gate and what it imports"):
            modules = {door: importlib.import_module(door.partition(":")[0]) for door in DOORS}
            sample_sets = importlib.import_module("int8gate.calibration_data.sample_set")
        for door, module in modules.items():
            self._wrap(module, door.partition(":")[2], DOORS[door], door)
        self._wrap_digests(sample_sets.SampleSet)
        self._wrap_misses(importlib.import_module("int8gate.engine.cache").ArtifactCache)
        self._wrap_worker(importlib.import_module("int8gate.engine.worker").Worker)

    def _wrap(self, module, path: str, label: str, door: str) -> None:
        *owners, name = path.removesuffix(".fget").split(".")
        owner = functools.reduce(getattr, owners, module)
        if not hasattr(owner, name):
            raise ValueError(f"{door} is not there: mend DOORS in {__file__}")
        found = vars(owner)[name]
        if isinstance(found, property):
            setattr(owner, name, property(self._timed(found.fget, label)))
        else:
            setattr(owner, name, self._timed(found, label))

    def _timed(self, function, label: str):
        @functools.wraps(function)
        def timed(*arguments, **options):
            with self.clock.span(label):
                return function(*arguments, **options)

        return timed

    def _wrap_digests(self, base) -> None:
        """Of every kind of data set, also those whose module is imported later."""
        wrapped = {base}
        base.digest = self._timed(base.digest, DIGEST)

        def at_definition(kind, **options):
            if "digest" in vars(kind) and kind not in wrapped:
                wrapped.add(kind)
                kind.digest = self._timed(kind.digest, DIGEST)

        base.__init_subclass__ = classmethod(at_definition)

    def _wrap_misses(self, cache) -> None:
        build = cache._build

        def watched(store, place, kind, key, *rest):
            self.misses.append(f"{kind}/{key[:8]}")
            return build(store, place, kind, key, *rest)

        cache._build = watched

    def _wrap_worker(self, worker) -> None:
        run = worker.run

        @functools.wraps(run)
        def watched(of, function, /, *arguments, timeout_s, log=None, **options):
            task = (function.__module__, function.__name__, pickle.dumps((arguments, options)))
            with self.clock.span("worker: start and hand-over"):
                result = run(of, measured_task, *task, timeout_s=timeout_s, log=log)
                value, spent, before = result.value
                for label, (wall, cpu) in spent.items():
                    self.clock.move(label, wall, cpu)
                pid = of._child.process.pid
                idle = before - self._worker_cpu.get(pid, 0)
                self.clock.add("worker: start and hand-over", 0, idle)
                self._worker_cpu[pid] = before + sum(cpu for _, cpu in spent.values())
            return type(result)(value, result.seconds, result.peak_rss_bytes)

        worker.run = watched


def pytest_configure(config) -> None:
    config.pluginmanager.register(SPANS, "framework-spans")


SPANS = Spans() if WRITES_TO in os.environ else None  # not in the worker: it has none to write
