"""Where the seconds of a warm gate go: the work that is measured, and the framework around it.

    python -m benchmarks.framework_time [--cache DIR] [--runs 3] [--report] [-- more pytest options]

Runs `pytest tests/zoo --recipe default` on one process (`-p no:xdist`), first until the cache holds
everything and then `--runs` times, and prints the median wall and CPU seconds by label.

*Measured work* is what a gate must do again because its result is of this host and this moment: the
interleaved timing of float and quantized models in the worker process (sessions opened, warm-up,
rounds), and the import of the runtimes that execute them. Everything else is *framework*: Python's
and pytest's own start and hooks, collection, imports, cache keys and look-ups with all their
hashing, statistics, gates, records, reports, the start of the worker and the hand-over of its
tasks. `framework_spans.py` says how each second gets its label, from the start of the process to
its end, so that the labels add up to the whole run. CPU seconds are those of all threads of all the
processes and depend little on what else the machine does; wall seconds do. As many empty tests,
collected without int8gate, say how much of the framework is pytest with its other plugins.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.framework_spans import END, MEASURED, STARTED, WRITES_TO

ROOT = Path(__file__).parent.parent
BYTECODE = Path(tempfile.gettempdir(), "int8gate-bytecode")  # as an installation has it
GOAL_S = 2.0
ENDED = re.compile(r"(\d+) (passed|failed|skipped|xfailed|error)")
WITHOUT_OURS = [
    option
    for plugin in (
        "cacheprovider",
        "int8gate.plugin.hooks",
        "int8gate.plugin.fixtures",
        "int8gate.plugin.options",
    )
    for option in ("-p", f"no:{plugin}")
]
GATE = ("tests/zoo", "--recipe", "default", "-p", "no:xdist", "-p", "no:cacheprovider", "-q")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, help="an artifact cache to use; else one is built")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="with --report, as `make gate`")
    parser.add_argument("more", nargs="*", help="more options of pytest, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = (arguments.cache or folder / "cache").absolute()
        options = [f"--artifact-cache={cache}", *arguments.more]
        if arguments.report:
            options.append(f"--report={folder}/report")
        while misses := run(options, folder)["misses"]:
            print(f"not warm yet, built: {len(misses)} entries", flush=True)
        warm = [one for one in (run(options, folder) for _ in range(arguments.runs)) if one["warm"]]
        if not warm:
            sys.exit("no run was warm: somebody edits the code, or the cache cannot be written")
        print_table(warm, empty_run(folder, warm[-1]["tests"]))
    print_collection()


def run(options: list[str], folder: Path) -> dict:
    """Of one run of the gate: `spent`, {label: [wall, CPU]}, `calls`, and how it ended."""
    spans = folder / "spans.json"
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.framework_spans", *GATE, *options]
    done, wall, cpu = _timed(command, {WRITES_TO: str(spans)})
    if done.returncode not in (0, 1):
        sys.exit(
            f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    found = json.loads(spans.read_text())
    spent = found["spent"]
    for place, whole in enumerate((wall, cpu)):  # what came after the last hook
        left = whole - sum(seconds[place] for seconds in spent.values())
        spent[END][place] += left
    said = done.stdout.strip().splitlines()[-1]
    tests = sum(int(number) for number, _ in ENDED.findall(said))
    return found | {"said": said, "tests": tests, "warm": not found["misses"]}


def empty_run(folder: Path, tests: int) -> tuple[float, float]:
    """Wall and CPU seconds of pytest with so many tests that do nothing, int8gate left out."""
    file = folder / "test_nothing.py"
    file.write_text(
        "import pytest\n\n\n"
        f"@pytest.mark.parametrize('number', range({tests}))\n"
        "def test_nothing(number):\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", str(file), "-q", "-p", "no:xdist", *WITHOUT_OURS]
    return _median_of(3, command)


def _timed(command: list[str], variables: dict) -> tuple[subprocess.CompletedProcess, float, float]:
    """The finished process, its wall seconds, and CPU seconds of it and what it waited for."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    environment |= {STARTED: str(time.time())}
    environment |= {"PYTHONPYCACHEPREFIX": str(BYTECODE), "PYTHONDONTWRITEBYTECODE": ""}
    before, started = _cpu(), time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done, time.perf_counter() - started, _cpu() - before


def _median_of(times: int, command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds; a first run that fills the bytecode cache does not count."""
    found = [_timed(command, {})[1:] for _ in range(times + 1)][1:]
    wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    return wall, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_table(runs: list[dict], of_pytest: tuple[float, float]) -> None:
    """Labels by CPU seconds, measured work first, each the median over runs."""
    labels = sorted({label for one in runs for label in one["spent"]})
    medians = {
        label: [
            statistics.median(one["spent"].get(label, (0, 0))[place] for one in runs)
            for place in (0, 1)
        ]
        for label in labels
    }
    print(__doc__.partition("\n\n")[2].partition("\n\n")[2])
    print(f"{len(runs)} warm runs, medians; the last said: {runs[-1]['said']}\n")
    print(f"{'label':46} {'calls':>6} {'wall s':>8} {'CPU s':>8}")
    for title, chosen in (
        ("measured work", [label for label in labels if label in MEASURED]),
        ("framework", [label for label in labels if label not in MEASURED]),
    ):
        for label in sorted(chosen, key=lambda label: -medians[label][1]):
            calls = runs[-1]["calls"].get(label, "")
            print(f"{label:46} {calls:>6} {medians[label][0]:8.3f} {medians[label][1]:8.3f}")
        wall, cpu = (sum(medians[label][place] for label in chosen) for place in (0, 1))
        print(f"{'= ' + title:46} {'':6} {wall:8.3f} {cpu:8.3f}\n")
    verdict = "reached" if cpu <= GOAL_S else "missed"
    print(f"framework {cpu:.2f} s of CPU, {wall:.2f} s of wall; goal <= {GOAL_S:g} s: {verdict}")
    own_wall, own_cpu = wall - of_pytest[0], cpu - of_pytest[1]
    print(
        f"of these as many empty tests take {of_pytest[1]:.2f} s of CPU, {of_pytest[0]:.2f} s of "
        f"wall; int8gate itself {own_cpu:.2f} s of CPU, {own_wall:.2f} s of wall"
    )


def print_collection(times: int = 3) -> None:
    command = [sys.executable, "-m", "pytest", "tests/zoo", "--collect-only", "-q"]
    wall, cpu = _median_of(times, command)
    print(f"--collect-only of the whole zoo: {cpu:.2f} s of CPU, {wall:.2f} s of wall")


if __name__ == "__main__":
    main()
