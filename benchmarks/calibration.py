"""What calibrating a ResNet-50 costs, beside ONNX Runtime's calibrators and the goals.

    .venv/bin/python benchmarks/calibration.py [--samples 300] [--quick]

Each contender runs in a process of its own, on one core: its wall and CPU seconds (opening the
model, collecting, finding the ranges) and the peak of its resident memory. Ours is the whole of
`shards.calibrate`. Bare inference runs before and after it: the ratio is to their mean. ONNX
Runtime's calibrators keep every activation (110 MB a sample), so they run on 32 samples.
`--quick` takes 48 samples, compares memory at 16 and 64, and ONNX Runtime's at 8: to see that it
works; the goals are those of the full run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Sizes:
    """Numbers of samples."""

    speed: int
    memory: tuple[int, int]
    others: int


@dataclass(frozen=True)
class Run:
    """Wall and CPU seconds by part, and the peak memory in bytes."""

    seconds: dict[str, tuple[float, float]]
    peak: int

    def total(self, *parts: str) -> tuple[float, float]:
        """Wall and CPU seconds of collecting and these parts."""
        taken = [self.seconds[part] for part in ("collect", *parts)]
        return sum(wall for wall, _ in taken), sum(cpu for _, cpu in taken)


@dataclass(frozen=True)
class Bench:
    """Runs scripts of this directory on the material."""

    model: Path
    samples: Path

    def run(self, contender: str, count: int) -> Run:
        found = self.script("calibration_contenders.py", contender, *self.material(count))
        return Run(found["seconds"], found["peak_rss_bytes"])

    def material(self, count: int) -> tuple[str, ...]:
        return str(self.model), str(self.samples), str(count)

    def script(self, name: str, *arguments: str) -> dict:
        """What it prints last, as JSON."""
        print(f"  {name} {arguments[0] if len(arguments) > 3 else ''} ...", file=sys.stderr)
        done = _python(name, *arguments, stdout=subprocess.PIPE)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.samples, (100, 1000), 32)
    if arguments.quick:
        sizes = Sizes(48, (16, 64), 8)
    with tempfile.TemporaryDirectory() as directory:
        most = max(sizes.speed, *sizes.memory)
        _python("calibration_material.py", directory, str(most), stdout=subprocess.DEVNULL)
        bench = Bench(Path(directory, "resnet50.onnx"), Path(directory, "samples.npy"))
        _speed(bench, sizes.speed)
        _memory(bench, sizes.memory)
        _others(bench, sizes.others)
        _sampling(bench, sizes.memory[0])


def _speed(bench: Bench, count: int) -> None:
    before, ours, after = (bench.run(name, count) for name in ("bare", "ours", "bare"))
    bare = [sum(pair) / 2 for pair in zip(before.total(), after.total(), strict=True)]
    print(f"{count} samples")
    _line("bare inference", bare, before.peak)
    for method in ("min_max", "percentile", "entropy", "mse"):
        total = ours.total(method)
        _line(f"ours, {method}", total, ours.peak)
        ratios = [ours / bare for ours, bare in zip(total, bare, strict=True)]
        _goal("times bare inference, wall", ratios[0], 1.3)
        _goal("times bare inference, CPU", ratios[1], 1.3)


def _memory(bench: Bench, counts: tuple[int, int]) -> None:
    few, many = (bench.run("ours", count).peak for count in counts)
    _goal(f"GB at {counts[0]} samples", few / 1e9, 1)
    _goal(f"GB at {counts[1]} samples", many / 1e9, 1)
    _goal("times the memory", many / few, 1.05)


def _others(bench: Bench, count: int) -> None:
    print(f"{count} samples, against ONNX Runtime's calibrators")
    ours = bench.run("ours", count)
    for method in ("min_max", "percentile", "entropy"):
        _line(f"ours, {method}", ours.total(method), ours.peak)
    _line("ONNX Runtime, min_max", *_of(bench.run("ort_min_max", count)))
    percentile = bench.run("ort_percentile", count)
    _line("ONNX Runtime, percentile", *_of(percentile))
    _goal("times ours, memory", percentile.peak / ours.peak, 5, at_least=True)
    _goal("times ours, wall", percentile.total()[0] / ours.total("percentile")[0], 1, at_least=True)
    _line("ONNX Runtime, entropy, its default", *_of(bench.run("ort_entropy", count)))
    entropy = bench.run("ort_entropy_2048", count)
    _line("ONNX Runtime, entropy, 2048 bins", *_of(entropy))
    _goal("times ours, wall", entropy.total()[0] / ours.total("entropy")[0], 10, at_least=True)


def _of(run: Run) -> tuple[tuple[float, float], int]:
    return run.total(), run.peak


def _sampling(bench: Bench, count: int) -> None:
    found = bench.script("calibration_sampling.py", *bench.material(count))
    elements, cdf = found["elements"], found["cdf"]
    print(f"{count} samples: what counting a part of the elements does")
    print(f"  counted {elements['counted'] / 1e6:.0f} of {elements['all'] / 1e6:.0f} M elements")
    print(
        f"  distribution functions: {cdf['median']:.1e} apart (median), {cdf['largest']:.1e} at "
        f"most; {cdf['within_bound']} of {cdf['sampled_tensors']} tensors within the 95% bound of "
        f"independent draws ({cdf['bound_median']:.1e}, median)"
    )
    inside = found["percentile_inside_bounds"]
    print(f"  ends of 99.99% ranges in their 95% intervals: {inside['inside']} of {inside['of']}")
    for method, effect in found["methods"].items():
        moved, noise = effect["moved"], effect["noise_db"]
        print(
            f"  {method:10} an end moved by {moved['median']:.2%} of the range (median), "
            f"{moved['90%']:.2%} (90%), {moved['most']:.2%} (most); noise {noise['median']:+.3f} "
            f"dB, {noise['90%']:+.3f}, {noise['most']:+.3f}"
        )


def _line(what: str, seconds, peak: int) -> None:
    wall, cpu = seconds
    print(f"  {what:36} {wall:8.1f} s wall {cpu:8.1f} s CPU {peak / 1e9:7.2f} GB", flush=True)


def _goal(what: str, value: float, goal: float, at_least: bool = False) -> None:
    reached = value >= goal if at_least else value <= goal
    sign, verdict = (">=" if at_least else "<="), ("reached" if reached else "MISSED")
    print(f"    {what:34} {value:8.2f}    goal {sign} {goal:g}: {verdict}", flush=True)


def _python(script: str, *arguments: str, stdout) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    return subprocess.run(
        command, env=environment, stdout=stdout, stderr=subprocess.DEVNULL, check=True, text=True
    )


if __name__ == "__main__":
    main()
