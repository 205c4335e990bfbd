"""Image classifiers. Compact: 10 digit classes in natural scenes. Full: ImageNet-1k."""

from calibration_data.preprocessing import PIXELS, SIGNED_UNIT
from model_zoo.spec import ModelSpec, Network

MODELS = [
    ModelSpec(
        name="resnet50_v1",
        task="classification",
        source_format="keras",
        preprocessing=PIXELS,  # the caffe-style BGR means stand inside the network
        compact=Network("keras.applications:ResNet50", (128, 128, 3), (128, 128), 10, width=1 / 8),
        full=Network(
            "keras.applications:ResNet50", (224, 224, 3), (224, 224), 1000, official="imagenet"
        ),
        paper="He et al., Deep Residual Learning for Image Recognition, 2015",
        wrapper="model_zoo.architectures.caffe_input:with_caffe_input",
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="mobilenet_v2",
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=Network(
            "keras.applications:MobileNetV2",
            (128, 128, 3),
            (128, 128),
            10,
            arguments={"alpha": 0.35},
        ),
        full=Network(
            "keras.applications:MobileNetV2", (224, 224, 3), (224, 224), 1000, official="imagenet"
        ),
        paper="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018",
    ),
]
