"""Semantic segmentation. Compact: handwriting against strokes and textures, grey."""

from calibration_data.preprocessing import UNIT
from model_zoo.spec import ModelSpec, Network

MODELS = [
    ModelSpec(
        name="unet",
        task="segmentation",
        source_format="keras",
        preprocessing=UNIT,
        compact=Network(
            "model_zoo.architectures.unet:unet",
            (None, None, 1),
            (96, 96),
            classes=2,
            arguments={"width": 8},
        ),
        full=Network(
            "model_zoo.architectures.unet:unet",
            (None, None, 1),
            (256, 256),
            classes=2,
            arguments={"width": 64},
        ),
        paper="Ronneberger et al., U-Net: Convolutional Networks for Biomedical Images, 2015",
        arm_speedup=2.0,
    ),
]
