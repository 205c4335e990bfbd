"""Semantic segmentation. Compact: handwriting against strokes and textures."""

from int8gate.calibration_data.preprocessing import SIGNED_UNIT, UNIT
from int8gate.model_zoo.spec import TORCH_RECIPES, ModelSpec, Network

MODELS = [
    ModelSpec(
        name="unet",
        task="segmentation",
        source_format="keras",
        preprocessing=UNIT,
        compact=Network(
            "int8gate.model_zoo.families.unet:unet",
            (None, None, 1),
            (96, 96),
            classes=2,
            arguments={"width": 8},
        ),
        full=Network(
            "int8gate.model_zoo.families.unet:unet",
            (None, None, 1),
            (256, 256),
            classes=2,
            arguments={"width": 64},
        ),
        paper="Ronneberger et al., U-Net: Convolutional Networks for Biomedical Images, 2015",
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="deeplabv3plus",
        task="segmentation",
        source_format="pytorch",
        preprocessing=SIGNED_UNIT,
        compact=Network(
            "int8gate.model_zoo.families.deeplabv3plus:deeplabv3plus",
            (96, 96, 3),
            (96, 96),
            classes=2,
            arguments={"backbone_width": 0.35, "width": 64},
        ),
        # No official weights: the checkpoints of MobileNet v2 have neither pyramid nor decoder.
        full=Network(
            "int8gate.model_zoo.families.deeplabv3plus:deeplabv3plus",
            (512, 512, 3),
            (512, 512),
            classes=21,  # of Pascal VOC
        ),
        paper="Chen et al., Encoder-Decoder with Atrous Separable Convolution, 2018",
        training="int8gate.model_zoo.training.torch_digits:SEGMENTATION",
        recipes=TORCH_RECIPES,
    ),
]
