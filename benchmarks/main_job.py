"""What the main job costs: collection, `pytest -k unet` cold and warm, peak memory of any process.

    .venv/bin/python benchmarks/main_job.py [--model unet]

Wall seconds on this machine, beside the goal. "cold" has an empty artifact cache (the operating
system's file cache is warm), "warm" repeats it. Peak memory is the largest resident set of any one
process: of pytest and what it waited for (getrusage), and of the worker (its own records).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="unet")
    model = parser.parse_args().model
    collect = [_run("--collect-only", "-q")[0] for _ in range(5)]
    _print("collect-only, median of 5", statistics.median(collect), 1.5)
    with tempfile.TemporaryDirectory() as cache:
        arguments = ("-k", model, f"--artifact-cache={cache}", f"--report={cache}/report")
        cold, cold_exit = _run(*arguments)
        warm, warm_exit = _run(*arguments)
        cases = json.loads(Path(cache, "report", "results.json").read_text())["cases"]
    _print(f"pytest -k {model}, cold (exit {cold_exit})", cold, 120)
    _print(f"pytest -k {model}, warm (exit {warm_exit})", warm, 25)
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    peak = max(waited_for, *(case["peak_rss_bytes"] or 0 for case in cases))
    print(f"{'peak memory of one process':42} {peak / 1e9:7.2f} GB   goal <= 3 GB")


def _run(*arguments: str) -> tuple[float, int]:
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - started, done.returncode


def _print(what: str, seconds: float, goal: float) -> None:
    print(f"{what:42} {seconds:7.2f} s    goal <= {goal:g} s", flush=True)


if __name__ == "__main__":
    main()
