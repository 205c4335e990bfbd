"""How often calibrated ranges are said to clip the evaluation's activations, and what that finds.

    python -m benchmarks.activation_audit mobilenet_v2 resnet50_torch [--clean 40] [--spoiled 10]

Each name is a trained compact network of the zoo; its float artifact comes from the pipeline. Clean
sets are random calibration scenes against random evaluation scenes (other photographs), and against
calibration scenes that were not drawn. Spoiled sets are calibration scenes changed, all of them.

Columns: `worst` is the largest share of a tensor that is clipped beyond calibration's own (median
and most of the sets), `activations` how often `activation_mismatch` is found, `pictures` how often
the audit of the pictures themselves says that they differ, `either` one of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import audit_material
from int8gate import calibration_data
from int8gate.calibration_data.audit import DETECTORS, Audited, AuditSet
from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.activation_audit import (
    MOST_CLIPPED,
    SAMPLES,
    activation_mismatch,
    clippings,
)
from int8gate.quantizers.calibration.table import Table
from int8gate.quantizers.calibration.thresholds import ranges
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, REFERENCES
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.tflite import collector as tflite_collector

CALIBRATION = 100  # samples: the fewest that are allowed
DRAWN = 300  # scenes of each split that sets are drawn from
PICTURES = ("domain", "inverted")  # detectors


@dataclass(frozen=True)
class Network:
    """A float model file, and how its statistics and its recipe's ranges come about."""

    spec: ModelSpec
    recipe: Recipe
    file: Path

    def table(self, pictures: np.ndarray) -> Table:
        """Statistics by tensor over pictures uint8 (n, h, w, c)."""
        collector = onnx_collector if self.file.suffix == ".onnx" else tflite_collector
        with tempfile.TemporaryDirectory() as folder:
            samples = Path(folder) / "samples.npy"
            np.save(samples, self.spec.preprocessing.apply(pictures))
            return collector.collect(self.file, samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--clean", type=int, default=40, help="clean sets of each kind")
    parser.add_argument("--spoiled", type=int, default=10, help="sets of each spoiling")
    arguments = parser.parse_args()
    networks = _networks(arguments.names)
    print(f"threshold {MOST_CLIPPED:.1%}, {CALIBRATION} samples against {SAMPLES}")
    header = f"{'calibration':30} {'sets':>4} {'worst':>16} {'activations':>11} {'pictures':>9}"
    for network in networks:
        print(f"\n{network.spec.name}, {network.recipe.name}\n{header} {'either':>7}")
        _measure(network, arguments.clean, arguments.spoiled)


def _networks(names: list[str]) -> list[Network]:
    """Their float artifacts, built where the cache has none."""
    found = []
    with Worker() as worker:
        pipeline = Pipeline(Settings(), open_cache(None), worker)
        for name in names:
            spec = model(name)
            recipe = RECIPES[spec.recipes[0]]
            built = pipeline.artifact(spec, REFERENCES[recipe.toolchain])
            found.append(Network(spec, recipe, built.artifact.path))
    return found


def _measure(network: Network, clean: int, spoiled: int) -> None:
    scenes = {split: _scenes(network.spec, split) for split in ("calibration", "evaluation")}
    rows: dict[str, list] = {}
    started, collected = time.perf_counter(), 0
    for number in range(max(clean, spoiled)):
        rng = np.random.default_rng([4, number])
        own = rng.permutation(scenes["calibration"])
        drawn, rest = own[:CALIBRATION], own[CALIBRATION : CALIBRATION + SAMPLES]
        scored = rng.permutation(scenes["evaluation"])[:SAMPLES]
        scored_table = network.table(scored)
        collected += len(scored)
        if number < clean:
            own_table = network.table(drawn)
            sets = {"clean, other photographs": (scored, scored_table)}
            sets["clean, same photographs"] = (rest, network.table(rest))
            collected += len(drawn) + len(rest)
            for name, (against, table) in sets.items():
                judged = _judged(network, drawn, own_table, against, table)
                rows.setdefault(name, []).append(judged)
        for name, change in audit_material.DOMAINS.items() if number < spoiled else ():
            if name == "grey" and drawn.shape[-1] == 1:
                continue
            changed = np.stack([change(rng, picture) for picture in drawn])
            judged = _judged(network, changed, network.table(changed), scored, scored_table)
            rows.setdefault(name, []).append(judged)
            collected += len(changed)
    for name, judged in sorted(rows.items(), key=lambda row: "clean" not in row[0]):
        _print_row(name, judged)
    took = time.perf_counter() - started
    print(f"{took / collected * 1e3:.1f} ms a sample with its statistics, collected and judged")


def _judged(network: Network, pictures, own: Table, scored, scored_table: Table) -> tuple:
    """The worst share, whether activations tell, and whether the pictures do."""
    chosen = ranges(own, network.recipe.calibration)
    worst = clippings(own, scored_table, chosen)[0].unforeseen
    audited = Audited(AuditSet(pictures), AuditSet(scored), None, None, 1)
    seen = any(finding for name in PICTURES for finding in DETECTORS[name](audited))
    return worst, activation_mismatch(own, scored_table, chosen) is not None, seen


def _print_row(name: str, judged: list[tuple]) -> None:
    worst, activations, pictures = (np.array(column) for column in zip(*judged, strict=True))
    print(
        f"{name:30} {len(judged):4} {np.median(worst):7.2%} {worst.max():8.2%} "
        f"{activations.mean():11.1%} {pictures.mean():9.1%} {(activations | pictures).mean():7.1%}",
        flush=True,
    )


def _scenes(spec: ModelSpec, split: str) -> np.ndarray:
    *size, channels = spec.compact.picture_shape
    drawn = calibration_data.load(spec.data, split, tuple(size), channels)
    return np.stack([drawn.image(index) for index in range(min(DRAWN, len(drawn)))])


if __name__ == "__main__":
    main()
