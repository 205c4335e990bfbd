"""The contenders of `benchmarks.sensitivity`, each a function of (float ONNX file, samples)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WEIGHTED = ("Conv", "Gemm")


@dataclass
class Found:
    """SQNR at the output in dB by layer, seconds of CPU and of the clock, what else is to tell."""

    sqnr_db: dict[str, float]
    cpu_s: float
    wall_s: float
    about: dict = field(default_factory=dict)


class Timed:
    """CPU seconds of this process, with all its threads, and of the clock."""

    def __enter__(self) -> Timed:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._cpu
        self.wall_s = time.perf_counter() - self._wall


def naive(model: Path, samples: Path) -> Found:
    """The loop that people write: the stock quantizer for each layer, then all samples."""
    import logging

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    from int8gate.runtimes import ort

    logging.getLogger().setLevel(logging.ERROR)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._left = iter(pictures)

        def get_next(self):
            picture = next(self._left, None)
            return None if picture is None else {"image": picture}

    def outputs(file: Path) -> np.ndarray:
        session = ort.open_model(file, ort.options())
        return np.concatenate([ort.run(session, {"image": each})[0] for each in pictures])

    pictures = [each.transpose(2, 0, 1)[None].copy() for each in np.load(samples)]
    nodes = onnx.load(str(model), load_external_data=False).graph.node
    with Timed() as timed, tempfile.TemporaryDirectory() as scratch:
        wanted, found = outputs(model), {}
        for node in nodes:
            if node.op_type in WEIGHTED:
                quantized = Path(scratch) / "one.onnx"
                quantize_static(
                    str(model),
                    str(quantized),
                    Reader(),
                    nodes_to_quantize=[node.name],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
                found[node.name] = sqnr_db(wanted, outputs(quantized))
    return Found(found, timed.cpu_s, timed.wall_s)


def ours(model: Path, samples: Path) -> Found:
    """Calibration included."""
    import onnx  # noqa: F401 (imports are not timed, of neither)
    import onnxruntime.quantization  # noqa: F401

    from int8gate.analysis.chain import Chain
    from int8gate.analysis.ranking import rank
    from int8gate.quantizers.calibration import thresholds
    from int8gate.quantizers.recipe import RECIPES
    from int8gate.quantizers.toolchains.onnx.collector import collect
    from int8gate.quantizers.toolchains.onnx.segments import opened

    recipe = RECIPES["onnx_int8"]
    with Timed() as timed:
        statistics = collect(model, samples)
        calibrated = time.process_time()
        network = opened(model, thresholds.ranges(statistics, recipe.calibration), recipe)
        layers = [layer for layer in network.layers if layer.weights]
        chain = Chain(network, [np.load(samples)])
        ranked = rank(chain, layers)
    about = {
        "calibration_cpu_s": calibrated - timed._cpu,
        "samples": {each.layer.name: each.samples for each in ranked},
    }
    return Found(
        {each.layer.name: each.sqnr_db for each in ranked}, timed.cpu_s, timed.wall_s, about
    )


def aimet(model: Path, samples: Path) -> Found:
    """aimet-onnx's own measure: a simulation of 8 bits, with one layer's quantizers enabled at a
    time, evaluated by the SQNR at the output over all samples.
    """
    import onnx
    from aimet_onnx.quant_analyzer import (  # pyright: ignore[reportMissingImports]
        analyze_per_layer_sensitivity,
    )
    from aimet_onnx.quantsim import (  # pyright: ignore[reportMissingImports]
        QuantizationSimModel,
    )

    from int8gate.runtimes import ort

    feeds = [{"image": each.transpose(2, 0, 1)[None].copy()} for each in np.load(samples)]

    def outputs(session) -> np.ndarray:
        return np.concatenate([ort.run(session, feed)[0] for feed in feeds])

    with Timed() as timed:
        wanted = outputs(ort.open_model(model, ort.options()))
        simulated = QuantizationSimModel(
            onnx.load(str(model)), providers=[ort.CPU], dummy_input=feeds[0]
        )
        simulated.compute_encodings(feeds)
        found = analyze_per_layer_sensitivity(
            simulated, lambda session: sqnr_db(wanted, outputs(session))
        )
    return Found({k: float(v) for k, v in found.items()}, timed.cpu_s, timed.wall_s)


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    """As `validation.fidelity` has it of one output."""
    from int8gate.validation.fidelity import OutputFidelity, worst_sqnr

    fidelity = OutputFidelity("logits")
    fidelity.add(wanted, found)
    return worst_sqnr([fidelity.row()]) or 0.0


CONTENDERS = {"naive": naive, "ours": ours, "aimet": aimet}
