"""Super-resolution by two, of luminance or in colour, scored on luminance.

Compact: real pictures of 32x32 to 64x64.

FSRCNN as published loses 2.4 dB to plain INT8, and with it all that it has over bicubic
enlargement: its features carry the picture's brightness, of which 8 bits keep 256 levels. Here the
network adds to a bicubic enlargement, so that features carry only what that misses, and is trained
with the noise that 8 bits will bring (0.3 dB). What is left comes from steps that are no grey
levels: a picture's range must be that of its pixels, not the one that calibration saw (0.1 dB).

`fsrcnn_published` is that network, without the skip and without the noise, in the graph that
OpenCV's users have: plain INT8 costs it 2.8 dB (1.2 with each PReLU as one operator; the ranges of
other methods lose more), since 8 bits of every feature are too few, int16 activations 0.16 dB.

EDSR's compact network adds to the picture itself, each pixel repeated, which 8 bits hold exactly
(a bicubic kernel's 8-bit weights would not), and is trained with that noise: INT8 costs 0.2 dB of
the 2.1 dB that it has over bicubic enlargement. The full one is as published.
"""

from int8gate.calibration_data.preprocessing import PIXELS, UNIT
from int8gate.model_zoo.spec import (
    TFLITE_RECIPES,
    TORCH_RECIPES,
    ModelSpec,
    Network,
    beginning_with,
)

EDSR = "int8gate.model_zoo.families.edsr.network:edsr"
FSRCNN = "int8gate.model_zoo.families.fsrcnn:fsrcnn"

MODELS = [
    ModelSpec(
        name="fsrcnn",
        task="super_resolution",
        source_format="frozen_graph",
        preprocessing=UNIT,
        compact=Network(
            FSRCNN,
            (None, None, 1),
            (32, 32),
            classes=None,
            arguments={"features": 32, "shrunk": 8, "noise": 2.0},
        ),
        full=Network(FSRCNN, (None, None, 1), (128, 128), classes=None),
        paper="Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, 2016",
        graph="int8gate.model_zoo.families.fsrcnn:frozen_graph",
        decode="int8gate.model_zoo.families.fsrcnn:pixels",
        recipes=("tflite_int8_pixels", *TFLITE_RECIPES),
    ),
    ModelSpec(
        name="fsrcnn_published",
        task="super_resolution",
        source_format="frozen_graph",
        preprocessing=UNIT,
        compact=Network(
            FSRCNN,
            (None, None, 1),
            (32, 32),
            classes=None,
            arguments={"features": 32, "shrunk": 8, "residual": False},
        ),
        full=Network(
            FSRCNN, (None, None, 1), (128, 128), classes=None, arguments={"residual": False}
        ),
        paper="Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, 2016",
        graph="int8gate.model_zoo.families.fsrcnn:opencv_frozen_graph",
        decode="int8gate.model_zoo.families.fsrcnn:pixels",
        training="int8gate.model_zoo.training.super_resolution:WITHOUT_SKIP",
        recipes=("tflite_int16x8", "tflite_fp32", "tflite_int8"),
    ),
    ModelSpec(
        name="edsr",
        task="super_resolution",
        source_format="pytorch",
        preprocessing=PIXELS,
        compact=Network(
            EDSR,
            (32, 32, 3),
            (32, 32),
            classes=None,
            arguments={
                "blocks": 8,
                "features": 24,
                "unit": 64.0,
                "picture_skip": True,
                "noise": 1.0,
            },
        ),
        full=Network(EDSR, (128, 128, 3), (128, 128), classes=None),
        paper="Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017",
        decode="int8gate.model_zoo.families.edsr.decoding:decode",
        scenes="colour_super_resolution",
        training="int8gate.model_zoo.training.torch_super_resolution:COLOUR_SUPER_RESOLUTION",
        recipes=beginning_with("onnx_int8_percentile", TORCH_RECIPES),  # loses least
    ),
]
