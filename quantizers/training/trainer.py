"""Quantization-aware training of a float artifact, as a stage: what toolchains share of it.

It writes another float artifact, whose weights are the trained ones, and `trained.json`
(`trained_file.py`), whose ranges the toolchain's own quantizer takes in place of calibration's: so
what is shipped goes the way of every artifact, and has the scales that were trained. That is looked
at before it ends.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.engine import atomic_file
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.ranged import table_of
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.training.differentiable_graph import Graph, NotDifferentiable
from int8gate.quantizers.training.trained_file import TRAINED, Ranges, write_trained
from int8gate.quantizers.training.training_samples import TrainingSamples
from int8gate.quantizers.training.training_schedule import JUDGE, PROGRESS, Schedule
from int8gate.quantizers.training.validation_part import Validation
from int8gate.runtimes.artifact import STATISTICS
from int8gate.runtimes.sessions import open_session

if TYPE_CHECKING:
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

SAME_SCALE = 1e-6  # relative
LEAST_SQNR_DB = 60.0  # of the float graph in PyTorch, to the float artifact in its own runtime
CHECKED = 8  # samples
WIDER = 1.02  # ranges, to see which scales follow them


@dataclass(frozen=True)
class Differentiable:
    """What a toolchain gives to a training.

    `read(file, float file)` makes a `Graph` of one, `write(float file, weights by source, target)`
    writes a float file with other weights, `quantize(float file, recipe, ranges, directory)` writes
    the artifact `file` there, and `run(file, samples)` gives what its runtime makes of samples
    (n, ...) of each input. `snapped(float file, ranges, pixel range)` gives the ranges where those
    of pictures are those of pixels.
    """

    file: str
    read: Callable[[Path, Path], Graph]
    write: Callable[[Path, Mapping[str, np.ndarray], Path], None]
    quantize: Callable[[Path, Recipe, Mapping, Path], dict]
    run: Callable[[Path, list[np.ndarray]], list[np.ndarray]]
    snapped: Callable[[Path, Ranges, tuple[float, float]], Ranges] = lambda model, ranges, pixels: (
        ranges
    )


def train(
    tools: Differentiable,
    float_model: Path,
    statistics: Path,
    spec: ModelSpec,
    recipe: Recipe,
    profile: str,
    schedule: Schedule,
    host: Path | None,
    checkpoint: Path,
    directory: Path,
) -> dict:
    """Writes `directory`/`file`, `directory`/trained.json and the statistics beside it, for the
    record; returns how it went (`Course.as_record`).

    Raises ValueError for a network that PyTorch cannot execute as its runtime does.
    """
    samples = TrainingSamples(spec, schedule.samples, schedule.validation, host)
    judge = resolve(JUDGE)(spec, recipe.name, profile, host, samples.has_labels)
    classes = spec.network(profile).classes
    given = samples, judge, classes, schedule, checkpoint, directory
    pixels = spec.preprocessing.range
    labelled = spec if schedule.label_share else None
    return train_on(tools, float_model, statistics, recipe, *given, pixels, labelled)


def train_on(
    tools: Differentiable,
    float_model: Path,
    statistics: Path,
    recipe: Recipe,
    samples: TrainingSamples,
    judge,
    classes: int | None,
    schedule: Schedule,
    checkpoint: Path,
    directory: Path,
    pixels: tuple[float, float] | None = None,
    labelled: ModelSpec | None = None,
) -> dict:
    """`train` on given samples; `judge` has the methods of `validation.training_judge.Judge`,
    `labelled` says what labels mean where the schedule gives them a share of the loss.
    """
    import torch

    torch.set_num_threads(schedule.threads)
    from int8gate.quantizers.training.course import Look, Training, seconds_used
    from int8gate.quantizers.training.fake_quantized import FakeQuantized
    from int8gate.quantizers.training.label_loss import LabelLoss

    torch.manual_seed(schedule.seed)
    ranges = thresholds.ranges_of(table_of(statistics), recipe)
    teacher = FakeQuantized(tools.read(float_model, float_model), is_quantized=False)
    check_float(tools, float_model, teacher, samples)
    look = Validation(judge, samples, teacher, classes, schedule.batch)
    starts = [ranges]
    if pixels is not None and (snapped := tools.snapped(float_model, ranges, pixels)) != ranges:
        starts.append(snapped)
    networks, looks, looked_s = [], [], 0.0
    for start in starts:
        networks.append(FakeQuantized(trainable_graph(tools, float_model, recipe, start)))
        began = seconds_used()  # what quantizes, and its imports, is no look
        looks.append(Look(0, 0.0, **look(networks[-1])))
        looked_s += seconds_used() - began
    network, first = networks[0], looks[0]
    for other, seen in zip(networks[1:], looks[1:], strict=True):
        if seen.is_better_than(first):
            network, first = other, seen
    graph = network.graph
    checkpoint.parent.mkdir(parents=True, exist_ok=True)

    def tell(line: str) -> None:
        print(line, flush=True)
        atomic_file.write(checkpoint.with_name(PROGRESS), line.encode())

    course = Training(
        network,
        teacher,
        lambda rows: samples.inputs(rows, graph.shapes),
        samples.count,
        look,
        schedule,
        checkpoint,
        classes,
        tell,
        (first, looked_s),
        labelled and LabelLoss(labelled, graph, samples, classes),
    ).run()
    weights = {
        source: values.detach().numpy()
        for source, values in zip(network.sources, network.weights, strict=True)
    }
    tools.write(float_model, weights, directory / tools.file)
    ranges |= trained_ranges(network)
    with tempfile.TemporaryDirectory() as scratch:
        shipped = Path(scratch) / tools.file
        tools.quantize(directory / tools.file, recipe, ranges, Path(scratch))
        check_scales(network, tools.read(shipped, directory / tools.file))
        agreement = look.agreement(network, run_shipped, shipped)
    write_trained(directory / TRAINED, ranges, scales_of(network))
    shutil.copyfile(statistics, directory / STATISTICS)
    of_pixels = "pixels" if network is not networks[0] else recipe.calibration
    told = {"start": of_pixels, "agreement": agreement, "label_share": schedule.label_share}
    return {"training": {**course.as_record(), **told}}


def run_shipped(file: Path, samples: list[np.ndarray]) -> list[np.ndarray]:
    """What the runtime makes of a file as users open it, with its integer kernels."""
    return open_session(file).predict(*samples)


def trained_ranges(network: FakeQuantized) -> Ranges:
    """What the toolchain's quantizer makes the trained scales and zero points of."""
    grids = [network.grid(tensor) for group in network.groups for tensor in group]
    return {grid.name: grid.limits for grid in grids}


def scales_of(network: FakeQuantized) -> dict:
    """Scale and zero point of each activation, scales of all quantized weights, by tensor."""
    grids = {tensor: network.grid(tensor) for tensor in network.graph.grids}
    return {
        "activations": {name: [grid.scale, grid.zero_point] for name, grid in grids.items()},
        "weights": {
            name: network.weight_scale(name).tolist()
            for name, constant in network.graph.constants.items()
            if constant.high
        },
    }


def check_scales(network: FakeQuantized, shipped: Graph) -> None:
    """Raises ValueError naming a scale of the quantized file that is not the trained one."""
    trained = scales_of(network)
    for name, (scale, zero_point) in trained["activations"].items():
        grid = shipped.grids.get(name)
        if grid is None or zero_point != grid.zero_point or not _same(scale, grid.scale):
            raise ValueError(
                f"tensor {name} was trained with the scale {scale:.9g} and zero point "
                f"{zero_point}, and the quantizer gives it "
                f"{grid and (grid.scale, grid.zero_point)}: please report this network"
            )
    for name, scales in trained["weights"].items():
        constant = shipped.constants.get(name)
        if constant is None or constant.scales is None or not _same(scales, constant.scales):
            raise ValueError(
                f"the weights {name} were trained with other scales than the quantizer gives them: "
                "please report this network"
            )


def _same(one, other) -> bool:
    return bool(np.allclose(one, other, rtol=SAME_SCALE, atol=0))


def trainable_graph(
    tools: Differentiable, float_model: Path, recipe: Recipe, ranges: Mapping
) -> Graph:
    """As `quantized_graph`; only scales that follow from their range are named, and so learned."""
    graph = quantized_graph(tools, float_model, recipe, ranges)
    graph.settle(ranges)
    widened = {name: (low * WIDER, high * WIDER) for name, (low, high) in ranges.items()}
    graph.keep_fixed(quantized_graph(tools, float_model, recipe, widened), WIDER)
    return graph


def quantized_graph(
    tools: Differentiable, float_model: Path, recipe: Recipe, ranges: Mapping
) -> Graph:
    """The graph of what the toolchain's quantizer makes of a float artifact."""
    with tempfile.TemporaryDirectory() as scratch:
        tools.quantize(float_model, recipe, ranges, Path(scratch))
        return tools.read(Path(scratch) / tools.file, float_model)


def check_float(
    tools: Differentiable, float_model: Path, network: FakeQuantized, samples: TrainingSamples
) -> None:
    """Raises NotDifferentiable where PyTorch does not compute what the float artifact does."""
    import torch

    rows = np.arange(CHECKED)
    wanted = tools.run(float_model, samples.real(rows))
    with torch.no_grad():
        found = [each.numpy() for each in network(*samples.inputs(rows, network.graph.shapes))]
    for name, real, other in zip(network.graph.outputs, wanted, found, strict=True):
        noise = float(np.mean((real.reshape(other.shape) - other) ** 2))
        ratio = 10 * np.log10(max(float(np.var(real)), 1e-30) / max(noise, 1e-30))
        if not ratio > LEAST_SQNR_DB:
            raise NotDifferentiable(
                f"output {name} of the float graph differs in PyTorch from {float_model.name} "
                f"(SQNR {ratio:.1f} dB, expected {LEAST_SQNR_DB:g}): it cannot be trained"
            )
