"""PoseNet on MobileNet v1: Papandreou et al., "PersonLab", 2018, as TensorFlow.js publishes it.

MobileNet v1 (Howard et al. 2017) down to one sixteenth of the input, its last stride replaced by a
dilation, and four 1x1 heads. With 17 keypoints in COCO's order and the 16 edges of `EDGES`, the
maps (n, h', w', channels) of an input that is a multiple of 16 plus 1 in height and width are

    heatmap_2            17   logit: is the keypoint within a disk around this place
    offset_2             34   from here to the keypoint, 17 y then 17 x, in pixels of the input
    displacement_fwd_2   32   from an edge's parent to its child, 16 y then 16 x, in pixels
    displacement_bwd_2   32   from an edge's child to its parent

Place (i, j) of a map lies at pixel (16 i, 16 j).
"""

from __future__ import annotations

from int8gate.tasks.keypoints import KEYPOINTS

STRIDE = 16
# The tree of PersonLab, parent to child, rooted at the nose; numbers are COCO's.
EDGES = (
    (0, 1),
    (1, 3),
    (0, 2),
    (2, 4),
    (0, 5),
    (5, 7),
    (7, 9),
    (5, 11),
    (11, 13),
    (13, 15),
    (0, 6),
    (6, 8),
    (8, 10),
    (6, 12),
    (12, 14),
    (14, 16),
)
HEADS = {
    "heatmap_2": KEYPOINTS,
    "offset_2": 2 * KEYPOINTS,
    "displacement_fwd_2": 2 * len(EDGES),
    "displacement_bwd_2": 2 * len(EDGES),
}
NORMALIZATION = "sub_2"  # what the published graph calls its normalized input
# Filters at width 1 and stride of each separable convolution; the last stride became a dilation.
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 1), (1024, 1)),
)
DILATED = 13  # the block after the stride that is left out sees as far as if it were there


def posenet(input_shape: tuple, classes: int, width: float = 1.0):
    """A `keras.Model` from pixels 0..255 (n, h, w, 3) to the four maps, a list in `HEADS`' order.

    `width` scales every number of filters (MobileNet's alpha). Raises ValueError unless `classes`
    is 17: the tree is COCO's.
    """
    import keras

    if classes != KEYPOINTS:
        raise ValueError(
            f"posenet has {KEYPOINTS} keypoints, COCO's, asked for {classes}: declare 17"
        )
    pixels = keras.Input(input_shape, name="image")
    x = keras.layers.Rescaling(2 / 255, -1, name=NORMALIZATION)(pixels)
    x = _convolution(x, _filters(32, width), 3, 2, "Conv2d_0")
    for number, (filters, stride) in enumerate(BLOCKS, start=1):
        dilation = 2 if number == DILATED else 1
        x = _depthwise(x, stride, dilation, f"Conv2d_{number}_depthwise")
        x = _convolution(x, _filters(filters, width), 1, 1, f"Conv2d_{number}_pointwise")
    heads = [keras.layers.Conv2D(channels, 1, name=name)(x) for name, channels in HEADS.items()]
    return keras.Model(pixels, heads, name="posenet_mobilenet_v1")


def _filters(filters: int, width: float) -> int:
    return max(8, int(filters * width))


def _convolution(x, filters: int, size: int, stride: int, name: str):
    import keras

    convolution = keras.layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False, name=name
    )
    return _normalized(convolution(x), name)


def _depthwise(x, stride: int, dilation: int, name: str):
    import keras

    convolution = keras.layers.DepthwiseConv2D(
        3, stride, padding="same", dilation_rate=dilation, use_bias=False, name=name
    )
    return _normalized(convolution(x), name)


def _normalized(x, name: str):
    import keras

    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)
