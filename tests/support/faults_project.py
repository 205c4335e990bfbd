"""A repository of own models for the tests of faults: whole runs, and what they leave behind."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import team_repository
from tiny_run import ended, environment

RECIPE = "onnx_int8"
MARK = "INT8GATE_TEST_RUN"  # in the environment of all the processes of a run


@dataclass
class Run:
    """A run of pytest: its process, its report, and its folder for temporary files."""

    process: subprocess.Popen
    report: Path
    scratch: Path
    log: Path
    mark: str
    stdout: str = ""
    stderr: str = ""

    @property
    def code(self) -> int:
        return self.process.returncode

    def ended(self, how: str) -> list[str]:
        return ended(how, self.stdout)

    def began(self) -> list[tuple[str, str, str]]:
        """(case, function, cache entry or `-`) of each stage that ran in a worker, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [tuple(line.split()) for line in lines]

    def built(self) -> list[str]:
        """The cache entries that the run built, or began to."""
        return [entry for _, _, entry in self.began() if entry != "-"]

    def wait(self, timeout_s: float = 300) -> Run:
        self.stdout, self.stderr = self.process.communicate(timeout=timeout_s)
        return self

    def results(self) -> dict:
        return json.loads((self.report / "results.json").read_text())

    def cases(self) -> dict[str, dict]:
        """The case records by case id; empty where there are none yet."""
        if not (self.report / "results.json").exists():
            return {}
        return {f"{case['model']}-{case['recipe']}": case for case in self.results()["cases"]}

    def processes(self) -> list[psutil.Process]:
        """Those of the run that are alive, orphans too."""
        return [process for process in psutil.process_iter() if _is_of(process, self.mark)]

    def assert_ended(self, within_s: float = 5) -> None:
        """No process of the run lives any more."""
        deadline = time.monotonic() + within_s
        while alive := self.processes():
            assert time.monotonic() < deadline, [process.cmdline() for process in alive]
            time.sleep(0.05)

    def temporary(self) -> list[Path]:
        """What is left in the folder for temporary files, but for pytest's own, of xdist."""
        return sorted(set(self.scratch.iterdir()) - {*self.scratch.glob("pytest-of-*")})

    def assert_left_nothing(self, cache: Path) -> None:
        """No process, no temporary file or folder."""
        self.assert_ended()
        assert not self.temporary()
        assert not sorted(cache.glob(".building/*"))
        assert not sorted(self.report.glob(".*"))


@dataclass
class Repository:
    """A folder with pictures and gadgets: trained classifiers, whose stages share no result."""

    folder: Path
    names: list[str] = field(default_factory=list)

    @classmethod
    def write(cls, folder: Path, count: int) -> Repository:
        """With `count` models, called gadget0, gadget1, ..."""
        import onnx
        from onnx import numpy_helper

        team_repository.write(folder)
        (folder / "test_own.py").unlink()
        table, tables = team_repository.TABLE, []
        names = [f"gadget{number}" for number in range(count)]
        for number, name in enumerate(names):
            model = onnx.load(folder / "gadget.onnx")
            bias = next(found for found in model.graph.initializer if found.name == "b")
            moved = numpy_helper.to_array(bias) + (number + 1) * 1e-4
            bias.CopyFrom(numpy_helper.from_array(moved.astype("float32"), "b"))
            onnx.save(model, folder / f"{name}.onnx")
            span = f"[-1, {1 + number * 1e-6:.6f}]"  # samples of its own, too
            tables.append(table.replace("gadget", name).replace("[-1, 1]", span))
        (folder / "models.toml").write_text("\n".join(tables))
        return cls(folder, names)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def cases(self, count: int | None = None) -> list[str]:
        return [f"{name}-{RECIPE}" for name in self.names[:count]]

    def run(self, *options, **chosen) -> Run:
        """A whole run; `chosen` as for `start`."""
        return self.start(*options, **chosen).wait()

    def start(
        self,
        *options,
        zoo: str = "models.toml",
        cache: str | Path = "cache",
        report: str | Path = "report",
        faults: dict[str, tuple[str, str]] | None = None,
        variables: dict[str, str] | None = None,
        **named,
    ) -> Run:
        """pytest in the repository; `faults` are `{case: (stage, fault)}`."""
        mark = uuid.uuid4().hex
        scratch, log = self / f"scratch-{mark}", self / f"stages-{mark}.log"
        scratch.mkdir()
        chosen = {"FAULTS": json.dumps(faults or {}), "STAGES_LOG": str(log)}
        chosen |= {MARK: mark, "TMPDIR": str(scratch)} | (variables or {})
        fixed = [f"--zoo={zoo}", f"--artifact-cache={cache}", f"--report={report}", "-rA"]
        plugins = ["-p", "faults"]
        command = [sys.executable, "-m", "pytest", *plugins, *fixed, *map(str, options)]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment() | chosen,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **named,
        )
        return Run(process, self.folder / report, scratch, log, mark)


@dataclass(frozen=True)
class Calm:
    """What a run that nothing disturbs finds, how long it takes, and the cache that it fills."""

    repository: Repository
    records: dict[str, dict]
    seconds: float
    cache: Path


@functools.cache
def calm_run(session: Path) -> Calm:
    """Of a repository of two models; once in a session of tests, in its temporary folder."""
    (session / "calm_team").mkdir()
    repository = Repository.write(session / "calm_team", 2)
    started = time.monotonic()
    run = repository.run(cache="calm", report="calm_report")
    seconds = time.monotonic() - started
    assert run.code == 0, run.stdout
    run.assert_left_nothing(repository / "calm")
    records = {case: settled(record) for case, record in run.cases().items()}
    return Calm(repository, records, seconds, repository / "calm")


def _is_of(process: psutil.Process, mark: str) -> bool:
    try:
        ended = process.status() == psutil.STATUS_ZOMBIE
        return not ended and process.environ().get(MARK) == mark
    except psutil.Error:
        return False


def entries(cache: Path) -> dict[str, int]:
    """When each entry of a cache was made: `{kind/key: nanoseconds of its entry.json}`."""
    found = cache.glob("*/*/*/entry.json")
    return {
        f"{path.parts[-4]}/{path.parts[-2]}": os.stat(path).st_mtime_ns
        for path in found
        if not path.parts[-4].startswith(".")
    }


MEASURED_ANEW = ("cpu", "seconds", "peak_rss_bytes")


def settled(record: dict) -> dict:
    """A case record without what is measured in every run anew, and without places."""
    kept = {name: value for name, value in record.items() if name not in MEASURED_ANEW}
    kept["artifact"] = record["artifact"]["sha256"]
    kept["conversion"] = {**record["conversion"], "log": None}
    return kept
