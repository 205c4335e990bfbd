"""FSRCNN (Dong, Loy and Tang 2016, arXiv:1608.00367): enlargement by two, on luminance.

Feature extraction 5x5, shrinking 1x1, `mapping` times 3x3 and expanding 1x1, each with PReLU, then
the paper's 9x9 transposed convolution, here written as what it equals (Shi et al. 2016,
arXiv:1609.07009): a 5x5 convolution to the four pixels of every 2x2 square, interleaved. On an
Ethos-U the 9x9 form, with its single output channel, takes three times as long.

`residual` adds the bicubic enlargement of the picture, so that the network restores what that
misses (the skip of VDSR, Kim et al. 2016): see `model_zoo/super_resolution.py` for why.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.spec import Network

SCALE = 2
REACH = 2  # pixels to each side that the last convolution sees
SLOPE = 0.25  # of PReLU, to begin with (He et al. 2015)
INPUT, OUTPUT = "IteratorGetNext", "NHWC_output"


def fsrcnn(
    input_shape: tuple,
    features: int = 56,
    shrunk: int = 12,
    mapping: int = 4,
    residual: bool = True,
    noise: float = 0.0,
):
    """A `keras.Model` from luminance (n, h, w, 1) to luminance (n, 2h, 2w, 1), in the same unit.

    `input_shape` may leave height and width None. The paper's d, s and m are `features`, `shrunk`
    and `mapping`. `noise`: how many steps of 8 bits the activations are blurred by in training.
    """
    import keras

    image = keras.Input(input_shape, name="image")
    x = _convolution(image, features, 5, "extract", noise)
    x = _convolution(x, shrunk, 1, "shrink", noise)
    for number in range(mapping):
        x = _convolution(x, shrunk, 3, f"map{number}", noise)
    x = _convolution(x, features, 1, "expand", noise)
    x = keras.layers.Conv2D(
        SCALE**2,
        2 * REACH + 1,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
        name="subpixels",
    )(x)
    if residual:
        enlarged = _fixed(
            keras.layers.Conv2D(SCALE**2, 2 * REACH + 1, padding="same", name="bicubic"),
            image,
            bicubic_kernel(),
        )
        x = keras.layers.Add(name="sum")([enlarged, x])  # TFLite adds in place of the first
    interleave = keras.layers.Conv2DTranspose(1, SCALE, strides=SCALE, name="interleave")
    return keras.Model(image, _fixed(interleave, x, interleaving_kernel()), name="fsrcnn")


def interleaving_kernel() -> np.ndarray:
    """Of the transposed convolution that lays four channels out as 2x2 squares, (2, 2, 1, 4)."""
    return np.eye(SCALE**2, dtype=np.float32).reshape(SCALE, SCALE, 1, SCALE**2)


def bicubic_kernel() -> np.ndarray:
    """Of the convolution from one channel to the four pixels of bicubic enlargement, (5, 5, 1, 4).

    Keys 1981 (doi:10.1109/TASSP.1981.1163711) with a = -0.5, as Pillow and MATLAB have it; the
    pixels of a square stand a quarter to either side of the one that they come from.
    """
    offsets = np.arange(-REACH, REACH + 1)
    above, below = (_keys(offsets - shift) for shift in (-0.25, 0.25))
    squares = [np.outer(rows, columns) for rows in (above, below) for columns in (above, below)]
    return np.stack(squares, axis=-1)[:, :, None].astype(np.float32)


def pixels(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The network's outputs [(n, 2h, 2w, 1)] in grey levels, 0..255."""
    return outputs[0] * np.float32(255)


def frozen_graph(network, declared: Network):
    """`network` as a TF1 frozen graph for pictures of any size, as Keras users freeze it.

    A `GraphDef` with input "IteratorGetNext" (None, None, None, 1) and output "NHWC_output", the
    names of OpenCV's dnn_superres. PReLU is Relu(x) + (-alpha) * Relu(-x), alpha (1, 1, c), which
    TFLite's converter takes for a PReLU in this order and rank alone; in any other its Neg stays
    float32. A PReLU has no 16-bit kernel: int16 activations need `opencv_frozen_graph`.
    """
    return _frozen(network, declared)


def opencv_frozen_graph(network, declared: Network):
    """As `frozen_graph`, with the PReLU of OpenCV's graphs: relu(x) + alpha * (x - |x|) / 2.

    The converter does not know that for a PReLU, but all of its parts exist as integer operators,
    of 8 bits and of 16.
    """
    return _frozen(_with_prelu_written_out(network), declared)


def _frozen(network, declared: Network):
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    signature = tf.TensorSpec((None, None, None, declared.input_shape[-1]), tf.float32, name=INPUT)

    @tf.function(input_signature=[signature])
    def enlarge(image):
        return tf.identity(network(image, training=False), name=OUTPUT)

    frozen = convert_variables_to_constants_v2(enlarge.get_concrete_function())
    return tf.compat.v1.graph_util.extract_sub_graph(frozen.graph.as_graph_def(), [OUTPUT])


def _with_prelu_written_out(network):
    import keras
    import tensorflow as tf

    class WrittenOut(keras.layers.PReLU):
        def call(self, x):
            return tf.nn.relu(x) + self.alpha * (x - tf.abs(x)) * 0.5

    def written_out(layer):
        kind = WrittenOut if isinstance(layer, keras.layers.PReLU) else layer.__class__
        return kind.from_config(layer.get_config())

    copied = keras.models.clone_model(network, clone_function=written_out)
    copied.set_weights(network.get_weights())
    return copied


def _convolution(x, filters: int, side: int, name: str, noise: float):
    import keras

    he = keras.initializers.HeNormal()
    x = keras.layers.Conv2D(filters, side, padding="same", kernel_initializer=he, name=name)(x)
    x = _blurred(x, noise, f"{name}_steps")
    slope = keras.initializers.Constant(SLOPE)
    x = keras.layers.PReLU(slope, shared_axes=[1, 2], name=f"{name}_prelu")(x)
    return _blurred(x, noise, f"{name}_prelu_steps")


def _blurred(x, steps: float, name: str):
    """In training, uniform noise as wide as `steps` of 8-bit quantization of this tensor's range.

    Pseudo-quantization noise (Defossez et al. 2021, arXiv:2104.09987). The gradient goes through
    the range too, so that training also draws outliers in.
    """
    import keras
    import tensorflow as tf

    class Steps(keras.layers.Layer):
        def call(self, x, training=False):
            if not training:
                return x
            step = (tf.reduce_max(x) - tf.reduce_min(x)) / 255
            return x + steps * step * (tf.random.uniform(tf.shape(x)) - 0.5)

    return Steps(name=name)(x) if steps else x


def _fixed(layer, x, kernel: np.ndarray):
    """`layer` with weights that are no weights: not trained, without a bias."""
    layer.use_bias = layer.trainable = False
    outputs = layer(x)
    layer.set_weights([kernel])
    return outputs


def _keys(distance: np.ndarray) -> np.ndarray:
    """Keys's cubic convolution at distances in pixels."""
    near = np.abs(distance)
    inner = 1.5 * near**3 - 2.5 * near**2 + 1
    outer = -0.5 * near**3 + 2.5 * near**2 - 4 * near + 2
    return np.where(near <= 1, inner, np.where(near < 2, outer, 0.0))
