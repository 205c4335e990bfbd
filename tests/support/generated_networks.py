"""Networks drawn by hypothesis, of blocks that remedies must see through, as ONNX and as TFLite.

A plan is a list of blocks, each a kind and an activation; weights are drawn by a seed, with
channels of very unlike ranges. Maps have `CHANNELS` channels throughout.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from hypothesis import strategies as st

CHANNELS, SIDE, SCORES = 6, 8, 4
BLOCKS = (
    *("conv", "depthwise", "residual", "shared", "max_pool", "average_pool", "gate"),
    *("concat", "both", "pad"),
)
ACTIVATIONS = ("relu", "relu6", "prelu", "leaky_relu", "none", "sigmoid")
PLANS = st.tuples(
    st.lists(
        st.tuples(st.sampled_from(BLOCKS), st.sampled_from(ACTIVATIONS)), min_size=1, max_size=5
    ),
    st.sampled_from(("mean", "flatten")),
    st.integers(0, 2**16),
)


class _Writer:
    """What a plan is made of, in one format: `conv`, `activated`, ..."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def weights(self, outputs: int, inputs: int, side: int = 3) -> np.ndarray:
        """(outputs, inputs, side, side), ranges of outputs and inputs spread 30 times."""
        values = self.random.normal(
            0, 1 / np.sqrt(inputs * side * side), (outputs, inputs, side, side)
        )
        spread = np.exp(self.random.uniform(-1.7, 1.7, (outputs, inputs)))
        return (values * spread[:, :1, None, None] * spread[:1, :, None, None]).astype(np.float32)

    def bias(self, outputs: int = CHANNELS) -> np.ndarray:
        return self.random.normal(0, 0.3, outputs).astype(np.float32)

    def network(self, plan, x):
        blocks, end, _ = plan
        for kind, activation in (("conv3", "relu"), *blocks, ("conv", "relu")):
            x = getattr(self, f"_{kind}")(x, activation)
        return self.end(x, end)

    def _conv3(self, x, activation):
        return self.activated(self.conv(x, self.weights(CHANNELS, 3), self.bias()), activation)

    def _conv(self, x, activation):
        weights = self.weights(CHANNELS, CHANNELS)
        return self.activated(self.conv(x, weights, self.bias()), activation)

    def _depthwise(self, x, activation):
        return self.activated(self.depthwise(x, self.weights(CHANNELS, 1), self.bias()), activation)

    def _residual(self, x, activation):
        inner = self._conv(self._conv(x, activation), "none")
        return self.activated(self.add(x, inner), activation)

    def _shared(self, x, activation):
        weights = self.weights(CHANNELS, CHANNELS)
        once = self.activated(self.conv(x, weights, self.bias()), activation)
        return self.activated(self.conv(once, weights, self.bias()), activation)

    def _gate(self, x, activation):
        return self.gated(self._conv(x, activation))

    def _concat(self, x, activation):
        both = self.concat(self._conv(x, activation), self._depthwise(x, "relu"))
        return self.activated(
            self.conv(both, self.weights(CHANNELS, 2 * CHANNELS), self.bias()), "relu"
        )

    def _both(self, x, activation):
        return self.add(self._conv(x, activation), self._conv(x, "relu"))

    def _max_pool(self, x, activation):
        return self.pooled(x, "max")

    def _average_pool(self, x, activation):
        return self.pooled(x, "average")

    def _pad(self, x, activation):
        return self.activated(self.padded(x), activation)


class _Onnx(_Writer):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.nodes, self.constants, self.side = [], {}, SIDE

    def node(self, kind: str, *inputs, **settings) -> str:
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                same = [name for name, held in self.constants.items() if held is value]
                name = same[0] if same else f"c{len(self.constants)}"
                self.constants[name] = value
                value = name
            names.append(value)
        number = len(self.nodes)
        self.nodes.append(
            onnx.helper.make_node(kind, names, [f"t{number}"], f"{kind}_{number}", **settings)
        )
        return f"t{number}"

    def conv(self, x, weights, bias):
        return self.node("Conv", x, weights, bias, pads=[1] * 4)

    def depthwise(self, x, weights, bias):
        return self.node("Conv", x, weights, bias, pads=[1] * 4, group=CHANNELS)

    def activated(self, x, activation):
        match activation:
            case "relu6":
                return self.node("Clip", x, np.array(0, np.float32), np.array(6, np.float32))
            case "prelu":
                slopes = np.linspace(0.1, 0.6, CHANNELS, dtype=np.float32)
                return self.node("PRelu", x, slopes.reshape(-1, 1, 1))
            case "none":
                return x
        return self.node(
            {"relu": "Relu", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid"}[activation], x
        )

    def add(self, x, y):
        return self.node("Add", x, y)

    def concat(self, x, y):
        return self.node("Concat", x, y, axis=1)

    def gated(self, x):
        return self.node("Mul", x, self.node("Sigmoid", self.node("GlobalAveragePool", x)))

    def pooled(self, x, kind):
        names = {"max": "MaxPool", "average": "AveragePool"}
        return self.node(names[kind], x, kernel_shape=[3, 3], pads=[1] * 4)

    def padded(self, x):
        self.side += 2
        return self.node("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]))

    def end(self, x, kind):
        if kind == "mean":
            x, inputs = self.node("GlobalAveragePool", x), CHANNELS
        else:
            inputs = CHANNELS * self.side**2
        weights = self.weights(SCORES, inputs, 1).reshape(SCORES, inputs)
        return self.node("Gemm", self.node("Flatten", x), weights, self.bias(SCORES), transB=1)


def write_onnx(plan, path: Path) -> Path:
    from onnx import helper, numpy_helper

    writer = _Onnx(plan[2])
    result = writer.network(plan, "image")
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("image", (1, 3, SIDE, SIDE)), (result, (1, SCORES)))
    ]
    constants = [
        numpy_helper.from_array(
            value if value.dtype.kind == "i" else value.astype(np.float32), name
        )
        for name, value in writer.constants.items()
    ]
    graph = helper.make_graph(writer.nodes, "generated", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, str(path))
    return path


class _Tflite(_Writer):
    def conv(self, x, weights, bias):
        import tensorflow as tf

        return tf.nn.conv2d(x, weights.transpose(2, 3, 1, 0), 1, "SAME") + bias

    def depthwise(self, x, weights, bias):
        import tensorflow as tf

        return tf.nn.depthwise_conv2d(x, weights.transpose(2, 3, 0, 1), [1] * 4, "SAME") + bias

    def activated(self, x, activation):
        import tensorflow as tf

        slopes = np.linspace(0.1, 0.6, CHANNELS, dtype=np.float32).reshape(1, 1, -1)
        if activation == "prelu":
            return tf.nn.relu(x) + -slopes * tf.nn.relu(-x)
        return x if activation == "none" else getattr(tf.nn, activation)(x)

    def add(self, x, y):
        return x + y

    def concat(self, x, y):
        import tensorflow as tf

        return tf.concat([x, y], -1)

    def gated(self, x):
        import tensorflow as tf

        return x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True))

    def pooled(self, x, kind):
        import tensorflow as tf

        return {"max": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d}[kind](x, 3, 1, "SAME")

    def padded(self, x):
        import tensorflow as tf

        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])

    def end(self, x, kind):
        import tensorflow as tf

        x = tf.reduce_mean(x, [1, 2]) if kind == "mean" else tf.reshape(x, [1, -1])
        inputs = int(x.shape[-1])
        weights = self.weights(SCORES, inputs, 1).reshape(SCORES, inputs)
        return tf.matmul(x, weights.T) + self.bias(SCORES)


def write_tflite(plan, path: Path) -> Path:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    writer = _Tflite(plan[2])
    signature = [tf.TensorSpec((1, SIDE, SIDE, 3), name="image")]
    function = tf.function(lambda image: {"scores": writer.network(plan, image)}, signature)
    concrete = function.get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return path
