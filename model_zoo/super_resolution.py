"""Super-resolution by two on luminance."""

from calibration_data.preprocessing import UNIT
from model_zoo.spec import ModelSpec, Network

MODELS = [
    ModelSpec(
        name="fsrcnn",
        task="super_resolution",
        source_format="keras",
        preprocessing=UNIT,
        compact=Network(
            "model_zoo.architectures.fsrcnn:fsrcnn", (None, None, 1), (32, 32), classes=None
        ),
        full=Network(
            "model_zoo.architectures.fsrcnn:fsrcnn", (None, None, 1), (128, 128), classes=None
        ),
        paper="Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, 2016",
    ),
]
