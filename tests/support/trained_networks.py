"""A small classifier, samples and a judge to train with: what `trainer.train_on` takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import separable_networks
from onnx_files import save, with_weights

from int8gate.quantizers.calibration import table
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx import trained_artifact as onnx_trained
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.tflite import collector as tflite_collector
from int8gate.quantizers.toolchains.tflite import trained_artifact as tflite_trained
from int8gate.runtimes.session import in_layout

TOOLS = {"onnx": onnx_trained.TOOLS, "tflite": tflite_trained.TOOLS}
COLLECTORS = {"onnx": onnx_collector, "tflite": tflite_collector}
CALIBRATION = 40


def write_float(form: str, spread: float, path: Path, deviation: float | None = None) -> Path:
    """A separable network of one format, whose channels spread; no class is answered most. Its
    scores have that standard `deviation`, where it is given.
    """
    layers = separable_networks.drawn(spread)
    _write(form, layers, path)
    (scores,) = exact_session(path).predict(separable_networks.pictures(64, seed=3))
    layers[-1]["bias"] = -scores.mean(axis=0)
    factor = 1.0 if deviation is None else deviation / (scores - scores.mean(axis=0)).std()
    layers[-1] |= {part: factor * layers[-1][part] for part in ("weights", "bias")}
    return _write(form, layers, path)


def _write(form: str, layers: list[dict], path: Path) -> Path:
    if form == "tflite":
        return separable_networks.write_tflite(layers, "relu", path)
    raw = path.with_name("raw.onnx")
    save(with_weights(*_onnx_of(layers)), raw)
    prepare(raw, path)
    return path


def _onnx_of(layers: list[dict]) -> tuple[str, dict[str, np.ndarray]]:
    lines, arrays, last = [], {}, "image"
    for number, layer in enumerate(layers[:-1]):
        weights = layer["weights"]
        arrays |= {f"w{number}": weights, f"b{number}": layer["bias"]}
        around = ", pads = [1, 1, 1, 1]" if weights.shape[-1] == 3 else ""
        groups = f", group = {len(weights)}" if layer["kind"] == "depthwise" else ""
        stride = 2 if number in (0, 3) else 1
        settings = f"<strides = [{stride}, {stride}]{around}{groups}>"
        lines.append(f"c{number} = Conv {settings} ({last}, w{number}, b{number})")
        lines.append(f"r{number} = Relu (c{number})")
        last = f"r{number}"
    arrays |= {"w": layers[-1]["weights"], "b": layers[-1]["bias"]}
    lines += [f"p = GlobalAveragePool ({last})", "f = Flatten (p)"]
    lines.append("scores = Gemm <transB = 1> (f, w, b)")
    side, classes = separable_networks.SIDE, separable_networks.CLASSES
    ends = f"(float[1, 3, {side}, {side}] image) => (float[1, {classes}] scores)"
    text = "\n".join(lines)
    return f'<ir_version: 8, opset_import: ["" : 17]>\nnet {ends} {{\n{text}\n}}', arrays


def write_statistics(form: str, model: Path, path: Path) -> Path:
    samples = path.with_name("calibration.npy")
    np.save(samples, separable_networks.pictures(CALIBRATION, seed=2))
    table.write_table(path, COLLECTORS[form].collect(model, samples))
    return path


class Samples:
    """As `TrainingSamples`, of pictures that are drawn; labels are not looked at."""

    def __init__(self, count: int = 128, validation: int = 128, seed: int = 5):
        self._pictures = separable_networks.pictures(count + validation, seed)
        self.count = count

    def real(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._pictures[rows]]

    def prepared(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self._pictures[rows]}

    def inputs(self, rows: np.ndarray, shapes) -> list:
        import torch

        real = in_layout(self._pictures[rows], shapes[0])
        return [torch.from_numpy(np.ascontiguousarray(real))]

    def validation(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(self.count, len(self._pictures), batch):
            rows = np.arange(start, min(start + batch, len(self._pictures)))
            yield rows, np.zeros(len(rows), int)


class Judge:
    """The share of answers that are not those of the float network, within a tolerance.

    Bounds are those of the normal distribution; `wrong` shuffles what float answers.
    """

    def __init__(self, tolerance: float = 0.05, wrong: bool = False):
        self.tolerance, self.wrong = tolerance, wrong

    def statistics(self, batches) -> np.ndarray:
        return np.concatenate([outputs[0].argmax(-1) for _, outputs, _ in batches])

    def agreement(self, batches) -> float:
        pairs = [(one[0].argmax(-1), other[0].argmax(-1)) for _, one, other in batches]
        return float(np.mean([np.mean(one == other) for one, other in pairs]))

    def drop(self, of_float: np.ndarray, quantized: np.ndarray) -> float:
        of_float = np.roll(of_float, 1) if self.wrong else of_float
        return float(np.mean(of_float != quantized))

    def compare(self, of_float: np.ndarray, quantized: np.ndarray) -> dict:
        drop = self.drop(of_float, quantized)
        room = 1.645 * np.sqrt(max(drop * (1 - drop), 1e-4) / len(quantized))
        return {
            "drop": drop,
            "drop_upper_95": drop + room,
            "drop_lower_95": drop - room,
            "tolerance": self.tolerance,
        }
