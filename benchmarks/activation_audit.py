"""How much of the evaluation's activations is clipped, with clean and with spoiled calibration.

    python -m benchmarks.activation_audit MODEL.onnx TASK LOW HIGH [--sets 10]

MODEL is a float ONNX model prepared as the pipeline does it, TASK names the scenes that it was
trained on, LOW and HIGH are what pixels 0 and 255 become. Clean sets are random calibration scenes
against random evaluation scenes, and against calibration scenes that were not drawn.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx

import calibration_data
from benchmarks import audit_material
from quantizers.calibration import onnx_collector
from quantizers.calibration.table import Table
from quantizers.calibration.thresholds import ranges
from validation.activation_audit import MOST_CLIPPED, activation_mismatch, clippings

METHODS = ("min_max", "percentile", "mse")
SAMPLES = 100
SPOILED = {
    "dark": audit_material.DOMAINS["dark"],
    "faint": audit_material.DOMAINS["faint"],
    "one value": lambda rng, picture: np.full_like(picture, picture.mean()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("task")
    parser.add_argument("low", type=float)
    parser.add_argument("high", type=float)
    parser.add_argument("--sets", type=int, default=10)
    arguments = parser.parse_args()
    channels, *size = _input_shape(arguments.model)
    pictures = {
        split: _pictures(arguments.task, split, tuple(size), channels)
        for split in ("calibration", "evaluation")
    }

    def table(chosen: np.ndarray) -> Table:
        step = (arguments.high - arguments.low) / 255
        return _statistics(arguments.model, chosen.astype(np.float32) * step + arguments.low)

    print(f"threshold {MOST_CLIPPED:.1%}; worst tensor's share clipped beyond calibration's own")
    print(f"{'calibration':28} {'method':11} {'sets':>4} {'found':>6} {'median':>8} {'most':>8}")
    found: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for number in range(arguments.sets):
        rng = np.random.default_rng([4, number])
        own = rng.permutation(pictures["calibration"])
        scored = table(rng.permutation(pictures["evaluation"])[:SAMPLES])
        sets = {
            "clean, evaluation's scenes": (own[:SAMPLES], scored),
            "clean, the same scenes": (own[:SAMPLES], table(own[SAMPLES : 2 * SAMPLES])),
        }
        for name, change in SPOILED.items():
            sets[name] = (np.stack([change(rng, p) for p in own[:SAMPLES]]), scored)
        for name, (chosen, against) in sets.items():
            _judge(found, name, table(chosen), against)
    for (name, method), results in found.items():
        flags, shares = zip(*results, strict=True)
        print(
            f"{name:28} {method:11} {len(flags):4} {sum(flags):6} {np.median(shares):8.2%} "
            f"{max(shares):8.2%}"
        )


def _judge(found: dict, name: str, calibration: Table, evaluation: Table) -> None:
    for method in METHODS:
        chosen = ranges(calibration, method)
        worst = clippings(calibration, evaluation, chosen)[0].unforeseen
        flagged = activation_mismatch(calibration, evaluation, chosen) is not None
        found.setdefault((name, method), []).append((flagged, worst))


def _input_shape(model: Path) -> list[int]:
    shape = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape
    return [axis.dim_value for axis in shape.dim][1:]


def _pictures(task: str, split: str, size: tuple[int, int], channels: int) -> np.ndarray:
    scenes = calibration_data.load(task, split, size, channels)
    return np.stack([scenes.image(index) for index in range(min(300, len(scenes)))])


def _statistics(model: Path, inputs: np.ndarray) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        np.save(samples, inputs)
        return onnx_collector.collect(model, samples)


if __name__ == "__main__":
    main()
