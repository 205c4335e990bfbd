"""SSD with MobileNet v1 as TensorFlow's object-detection API builds it (Huang et al. 2017).

MobileNet v1 (Howard et al. 2017) to its 13th separable convolution; predictions from the 11th, the
13th and four more maps, each half as high and wide as the one before; 1x1 box predictors. ReLU6 and
batch normalization throughout. The network's inputs are pixels 0..255: it scales them to -1..1.
"""

from __future__ import annotations

from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors

# Filters and stride of each separable convolution, from the first.
SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
PREDICTED_FROM = (11, 13)
EXTRA_FILTERS = (512, 256, 256, 128)
LEAST_FILTERS = 16


def ssd_mobilenet_v1(input_shape: tuple, classes: int, alpha: float = 1.0):
    """A `keras.Model` from pixels (n, h, w, channels) to [boxes (n, A, 4), logits (n, A, C + 1)].

    `boxes` are encoded relative to `ssd_anchors.anchors((h, w))`; column 0 of the logits is the
    background. `alpha` scales the number of filters.
    """
    import keras

    image = keras.Input(input_shape, name="image")
    x = keras.layers.Rescaling(2 / 255, offset=-1, name="scale_to_signed_unit")(image)
    x = _convolution(x, _filters(32, alpha), 3, 2, "conv0")
    maps = []
    for number, (filters, stride) in enumerate(SEPARABLE, start=1):
        x = keras.layers.DepthwiseConv2D(
            3, stride, "same", use_bias=False, name=f"conv{number}_depthwise"
        )(x)
        x = _normalized(x, f"conv{number}_depthwise")
        x = _convolution(x, _filters(filters, alpha), 1, 1, f"conv{number}_pointwise")
        if number in PREDICTED_FROM:
            maps.append(x)
    for number, filters in enumerate(EXTRA_FILTERS, start=2):
        x = _convolution(x, _filters(filters // 2, alpha), 1, 1, f"map{number}_reduce")
        x = _convolution(x, _filters(filters, alpha), 3, 2, f"map{number}")
        maps.append(x)
    boxes, logits = [], []
    for level, features in enumerate(maps):
        places = len(ssd_anchors.shapes(level))
        boxes.append(_prediction(features, places, 4, f"map{level}_boxes"))
        logits.append(_prediction(features, places, classes + 1, f"map{level}_logits"))
    outputs = [
        keras.layers.Concatenate(axis=1, name="boxes")(boxes),
        keras.layers.Concatenate(axis=1, name="logits")(logits),
    ]
    return keras.Model(image, outputs, name="ssd_mobilenet_v1")


def _filters(count: int, alpha: float) -> int:
    return max(LEAST_FILTERS, round(count * alpha))


def _convolution(x, filters: int, kernel: int, stride: int, name: str):
    import keras

    x = keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
    return _normalized(x, name)


def _normalized(x, name: str):
    import keras

    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _prediction(features, places: int, values: int, name: str):
    """(n, h, w, channels) to (n, h * w * places, values)."""
    import keras

    x = keras.layers.Conv2D(places * values, 1, name=name)(features)
    return keras.layers.Reshape((-1, values), name=f"{name}_rows")(x)
