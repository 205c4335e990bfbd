"""Small ONNX files of known weights, as users have them, for the tests of the ONNX toolchain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

PICTURE = (1, 3, 16, 16)
CNN = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
cnn (float[{picture}] image) => (float[{scores}] scores) {{
    first = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, w1, b1)
    a = Relu (first)
    second = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a, w2, b2)
    b = LeakyRelu <alpha = 0.1> (second)
    sum = Add (a, b)
    pooled = GlobalAveragePool (sum)
    flat = Flatten (pooled)
    scores = Gemm <transB = 1> (flat, w3, b3)
}}
"""


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Those of `CNN`, scaled so that activations keep their size."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (5, 8)}
    found = {
        name: random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    biases = {"b1": 8, "b2": 8, "b3": 5}
    return found | {
        name: random.normal(0, 0.1, size).astype(np.float32) for name, size in biases.items()
    }


def cnn(
    picture: str = "1, 3, 16, 16",
    scores: str = "1, 5",
    opset: int = 17,
    ir: int = 8,
    seed: int = 0,
) -> onnx.ModelProto:
    """A convolutional network with a residual sum; `picture` and `scores` are declared shapes."""
    text = CNN.format(picture=picture, scores=scores, opset=opset, ir=ir)
    return with_weights(text, weights(seed))


def with_weights(text: str, arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model in ONNX's textual syntax, with initializers."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()
    )
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save_model(model, str(path))
    return path


def save_outside(model: onnx.ModelProto, path: Path) -> Path:
    """With every weight in `weights.bin` beside the model."""
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def pictures(count: int = 8, shape: tuple[int, ...] = PICTURE, seed: int = 1) -> np.ndarray:
    """float32 (count, ...) of 0..1."""
    return np.random.default_rng(seed).random((count, *shape[1:]), np.float32)


def reference(model: onnx.ModelProto, fed: np.ndarray) -> list[np.ndarray]:
    """ONNX's own definition of the operators, in numpy; one sample."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {model.graph.input[0].name: fed})


def ranges_of(path: Path, tensors: list[str], samples: np.ndarray) -> dict:
    """Minimum and maximum of tensors over samples (n, ...), run one by one."""
    import onnxruntime

    model = onnx.load(str(path))
    watched = [name for name in tensors if name != model.graph.input[0].name]
    present = {info.name for info in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, 1, None) for name in watched if name not in present
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    rows = [
        [*session.run(watched, {name: samples[i : i + 1]}), samples[i]] for i in range(len(samples))
    ]
    columns = zip([*watched, name], zip(*rows, strict=True), strict=True)
    found = {
        name: (min(float(v.min()) for v in values), max(float(v.max()) for v in values))
        for name, values in columns
    }
    return {name: found[name] for name in tensors}


def sqnr_db(real: np.ndarray, found: np.ndarray) -> float:
    """Signal to quantization noise in dB."""
    noise = np.square(np.float64(real) - found).sum()
    return float(10 * np.log10(np.square(np.float64(real)).sum() / max(noise, 1e-30)))
