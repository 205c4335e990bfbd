"""Small float networks with every kind of layer that remedies change, as ONNX and as TFLite."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_files

SIDE, SEQUENCE = 8, 4
ONNX_TEXT = f"""
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, {SIDE}, {SIDE}] image) => (float[1, {SEQUENCE}, 6] out, float[1, 5] scores) {{
    stem = Conv <pads = [1, 1, 1, 1]> (image, w_stem, b_stem)
    a = Relu (stem)
    again = Conv <pads = [1, 1, 1, 1]> (a, w_shared)
    b = Clip (again, zero, six)
    once = Conv <pads = [1, 1, 1, 1]> (b, w_shared, b_once)
    c = PRelu (once, slopes)
    dw = Conv <pads = [1, 1, 1, 1], group = 8> (c, w_dw, b_dw)
    up = ConvTranspose <strides = [2, 2], group = 2> (dw, w_up, b_up)
    d = LeakyRelu <alpha = 0.1> (up)
    pooled = GlobalAveragePool (d)
    flat = Flatten (pooled)
    scores = Gemm <transB = 1> (flat, w_gemm, b_gemm)
    rows = Gemm (flat, w_rows)
    tokens = Reshape (rows, shape)
    product = MatMul (tokens, w_matmul)
    e = Add (product, b_matmul)
    f = Sigmoid (e)
    out = MatMul (f, w_last)
}}
"""
SHAPES = {
    "w_stem": (8, 3, 3, 3),
    "w_shared": (8, 8, 3, 3),
    "w_dw": (8, 1, 3, 3),
    "w_up": (8, 4, 2, 2),
    "w_gemm": (5, 8),
    "w_rows": (8, 4 * SEQUENCE),
    "w_matmul": (4, 7),
    "w_last": (7, 6),
    "b_stem": (8,),
    "b_once": (8,),
    "b_dw": (8,),
    "b_up": (8,),
    "b_gemm": (5,),
    "b_matmul": (7,),
}


def arrays(seed: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in SHAPES.items()}


def write_onnx(path: Path) -> Path:
    """Weights of `again` and `once` are one constant; `rows` and `out` have no bias."""
    others = {
        "zero": np.float32(0),
        "six": np.float32(6),
        "slopes": np.linspace(0.1, 0.5, 8, dtype=np.float32).reshape(8, 1, 1),
        "shape": np.array([1, SEQUENCE, 4]),
    }
    return onnx_files.save(onnx_files.with_weights(ONNX_TEXT, arrays() | others), path)


def write_tflite(path: Path) -> Path:
    """Convolutions, of which two share a constant, depthwise, transposed, and matrix products."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    found = arrays()

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), name="image")])
    def network(image):
        def conv(x, name):
            return tf.nn.conv2d(x, found[name].transpose(2, 3, 1, 0), 1, "SAME")

        a = tf.nn.relu(conv(image, "w_stem") + found["b_stem"])
        b = tf.nn.relu6(conv(a, "w_shared"))
        c = tf.nn.leaky_relu(conv(b, "w_shared") + found["b_once"])
        depthwise = found["w_stem"][:, :2].transpose(2, 3, 0, 1)  # two outputs of each input
        d = tf.nn.relu6(tf.nn.depthwise_conv2d(c, depthwise, [1] * 4, "SAME"))
        kernel = np.ones((2, 2, 4, 16), np.float32) * found["w_rows"].reshape(1, 1, 8, 16)[:, :, :4]
        e = tf.nn.conv2d_transpose(d, kernel, (1, 2 * SIDE, 2 * SIDE, 4), 2)
        flat = tf.reduce_mean(e, [1, 2])
        scores = tf.matmul(flat, found["w_matmul"]) + found["b_matmul"]
        tokens = tf.reshape(e, (1, SIDE * SIDE * 4, 4))
        f = tf.sigmoid(tf.matmul(tokens, found["w_matmul"][None]) + found["b_matmul"])
        return {"scores": scores, "out": f}

    concrete = network.get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return path
