"""What a step of quantization-aware training costs, beside a step of the same network in floats.

    .venv/bin/python -m benchmarks.training_step [CASE ...] [--rounds 7]

A step is forward, the distillation loss, backward, the norm of the gradients and the optimizer, on
a batch of 16, on one core; both networks are the case's own graph with the same weights. Rounds of
both are interleaved, in CPU seconds; the ratio is that of the medians, with the least and the most
of single rounds. What both need besides, the teacher's outputs, is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.quantizers import steps
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.ranged import table_of
from int8gate.quantizers.recipe import recipe, untrained
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.toolchains.onnx import trained_artifact as onnx_trained
from int8gate.quantizers.toolchains.tflite import trained_artifact as tflite_trained
from int8gate.quantizers.training import trainer
from int8gate.quantizers.training.training_samples import TrainingSamples
from int8gate.quantizers.training.training_schedule import Schedule
from int8gate.runtimes.artifact import STATISTICS

CASES = (
    "mobilenet_v2-tflite_qat_int8",
    "mobilenet_v2-tflite_qat_int8x4",
    "fsrcnn-tflite_qat_int8",
    "vit-onnx_qat_int8",
    "vit-tflite_qat_int8",
    "detr-onnx_qat_int8",
    "detr-tflite_qat_int8",
)
GOAL = 2.2
TOOLS = {"onnx": onnx_trained.TOOLS, "tflite": tflite_trained.TOOLS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(
        f"{'case':34} {'float ms':>9} {'trained ms':>11} {'ratio':>6}   least to most, goal {GOAL}"
    )
    with Worker() as worker:
        pipeline = Pipeline(Settings(), open_cache(None), worker)
        for case in arguments.cases:
            taken = Pair(pipeline, case).rounds(arguments.rounds)
            ratios = [trained / real for real, trained in taken]
            real, trained = (statistics.median(each) for each in zip(*taken, strict=True))
            print(
                f"{case:34} {1e3 * real:9.0f} {1e3 * trained:11.0f} {trained / real:6.2f}   "
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


class Pair:
    """The network of a case, once with its quantizers and once without."""

    def __init__(self, pipeline: Pipeline, case: str) -> None:
        import torch

        from int8gate.quantizers.training.fake_quantized import FakeQuantized

        torch.set_num_threads(1)
        name, _, chosen = case.partition("-")
        spec, trained = model(name), recipe(chosen)
        tools = TOOLS[trained.toolchain]
        done = steps.run_steps(pipeline.steps(spec, untrained(trained)), pipeline.runner)
        real = done[steps.FLOAT].path / tools.file
        table = table_of(done[steps.STATISTICS].path / STATISTICS)
        ranges = thresholds.ranges_of(table, trained)
        graph = trainer.quantized_graph(tools, real, trained, ranges)
        graph.settle(ranges)
        host = done[steps.EXPORTED].path if source_of(spec).is_cut else None
        batch = Schedule().batch
        samples = TrainingSamples(spec, batch, 4, host)
        self._inputs = samples.inputs(np.arange(batch), graph.shapes)
        self._networks = [FakeQuantized(graph, is_quantized=each) for each in (False, True)]
        self._optimizers = [torch.optim.Adam(each.parameters(), 1e-6) for each in self._networks]
        self._classes = spec.network("compact").classes
        with torch.no_grad():
            self._wanted = self._networks[0](*self._inputs, tensors=graph.ends())

    def rounds(self, count: int) -> list[tuple[float, float]]:
        """CPU seconds of a float step and of a quantized one, so many times behind a warm-up."""
        for number in (0, 1):
            self._step(number)
        return [(self._step(0), self._step(1)) for _ in range(count)]

    def _step(self, number: int) -> float:
        import torch

        from int8gate.quantizers.training.distillation import class_axes, distillation_loss

        network, optimizer = self._networks[number], self._optimizers[number]
        began = time.process_time()
        outputs = network(*self._inputs, tensors=network.graph.ends())
        axes = class_axes([output.shape for output in self._wanted], self._classes)
        loss = distillation_loss(outputs, self._wanted, axes)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return time.process_time() - began


if __name__ == "__main__":
    main()
