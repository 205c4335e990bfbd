"""The peers of `benchmarks.peers`, each run in an environment of its own, without our code.

    python peer_contenders.py PEER FLOAT SAMPLES FOLDER OPTIONS

Writes the quantized file into FOLDER; the last line printed is a JSON object: `file`, and CPU
seconds and peak memory from float file and samples to it, without imports.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


class Timed:
    """CPU seconds of this process, with all its threads."""

    def __enter__(self) -> Timed:
        self._started = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._started


def onnx_feeds(model, samples: Path) -> list[dict[str, np.ndarray]]:
    """The calibration samples as the network takes them, by input."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in constants]
    feeds = [{} for _ in arrays_of(samples)[0]]
    for given, array in zip(inputs, arrays_of(samples), strict=True):
        sides = [side.dim_value for side in given.type.tensor_type.shape.dim]
        if array.ndim == len(sides) == 4 and list(array.shape[1:]) != sides[1:]:
            array = array.transpose(0, 3, 1, 2)
        for feed, sample in zip(feeds, array, strict=True):
            feed[given.name] = np.ascontiguousarray(sample[None])
    return feeds


def arrays_of(samples: Path) -> list[np.ndarray]:
    """An array (n, ...) for each input of the network."""
    loaded = np.load(samples)
    if isinstance(loaded, np.ndarray):
        return [loaded]
    return [loaded[name] for name in sorted(loaded.files, key=lambda name: (len(name), name))]


def nncf(source: Path, samples: Path, folder: Path, options: dict) -> tuple[str, Timed]:
    import nncf  # pyright: ignore[reportMissingImports]
    import onnx
    from nncf.quantization.advanced_parameters import (  # pyright: ignore[reportMissingImports]
        AdvancedQuantizationParameters,
    )
    from nncf.quantization.range_estimator import (  # pyright: ignore[reportMissingImports]
        RangeEstimatorParametersSet,
    )

    logging.getLogger("nncf").setLevel(logging.ERROR)
    advanced, settings = {}, {}
    if options.get("min_max"):
        advanced["activations_range_estimator_params"] = RangeEstimatorParametersSet.MINMAX
    if not options.get("bias", True):
        advanced["disable_bias_correction"] = True
    if options.get("transformer"):
        settings["model_type"] = nncf.ModelType.TRANSFORMER
    if "preset" in options:
        settings["preset"] = nncf.QuantizationPreset(options["preset"])
    with Timed() as timed:
        model = onnx.load(str(source))
        feeds = onnx_feeds(model, samples)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            advanced_parameters=AdvancedQuantizationParameters(**advanced),
            **settings,
        )
        onnx.save(quantized, str(folder / "model.onnx"))
    return "model.onnx", timed


def onnxruntime(source: Path, samples: Path, folder: Path, options: dict) -> tuple[str, Timed]:
    """Activations uint8, weights int8 per channel, as ONNX Runtime's documentation has it for x86,
    behind its own pre-processing where that succeeds.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)

    class Reader(CalibrationDataReader):
        def __init__(self, feeds):
            self._left = iter(feeds)

        def get_next(self):
            return next(self._left, None)

    extra = {"CalibPercentile": options["percentile"]} if "percentile" in options else {}
    with Timed() as timed:
        ready = folder / "ready.onnx"
        try:
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        except Exception:  # whatever stops it: the network then goes as it is
            ready = source
        quantize_static(
            str(ready),
            str(folder / "model.onnx"),
            Reader(onnx_feeds(onnx.load(str(ready)), samples)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[options["method"]],
            extra_options=extra,
        )
    return "model.onnx", timed


def ai_edge_quantizer(
    source: Path, samples: Path, folder: Path, options: dict
) -> tuple[str, Timed]:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.utils import qsv_utils  # pyright: ignore[reportMissingImports]

    signatures = Interpreter(str(source)).get_signature_list()
    key, ends = next(iter(signatures.items()))
    with Timed() as timed:
        chosen = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        arrays = arrays_of(samples)
        data = {
            key: [
                {name: array[i : i + 1] for name, array in zip(ends["inputs"], arrays, strict=True)}
                for i in range(len(arrays[0]))
            ]
        }
        if options.get("min_max"):
            from ai_edge_quantizer import calibrator  # pyright: ignore[reportMissingImports]

            watched = calibrator.Calibrator(
                str(source),
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
                qsv_update_func=qsv_utils.min_max_update,
            )
            watched.calibrate(data, chosen._recipe_manager)
            found = watched.get_model_qsvs()
        else:
            found = chosen.calibrate(data)
        (folder / "model.tflite").write_bytes(bytes(chosen.quantize(found).quantized_model))
    return "model.tflite", timed


def converter(source: Path, samples: Path, folder: Path, options: dict) -> tuple[str, Timed]:
    import tensorflow as tf

    arrays = arrays_of(samples)
    with Timed() as timed:
        chosen = tf.lite.TFLiteConverter.from_saved_model(str(source))
        chosen.optimizations = [tf.lite.Optimize.DEFAULT]
        chosen.representative_dataset = lambda: (
            [array[i : i + 1] for array in arrays] for i in range(len(arrays[0]))
        )
        chosen.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        chosen.inference_input_type = chosen.inference_output_type = tf.int8
        (folder / "model.tflite").write_bytes(chosen.convert())
    return "model.tflite", timed


CONTENDERS: dict[str, Callable] = {
    "nncf": nncf,
    "onnxruntime": onnxruntime,
    "ai_edge_quantizer": ai_edge_quantizer,
    "converter": converter,
}


def main() -> None:
    peer, source, samples, folder, options = sys.argv[1:]
    quantize = CONTENDERS[peer]
    file, timed = quantize(Path(source), Path(samples), Path(folder), json.loads(options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"file": file, "cpu_s": timed.cpu_s, "peak_mb": peak}))


if __name__ == "__main__":
    main()
