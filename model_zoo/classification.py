"""Image classifiers. Compact: 10 digit classes in natural scenes. Full: ImageNet-1k."""

from int8gate.calibration_data.preprocessing import EDGETPU, PIXELS, SIGNED_UNIT
from int8gate.model_zoo.spec import (
    TFLITE_RECIPES,
    TORCH_RECIPES,
    TRANSFORMER_RECIPES,
    ModelSpec,
    Network,
)

CAFFE_INPUT = "int8gate.model_zoo.families.caffe_input:with_caffe_input"


def _compact(builder: str, width: float = 1.0, side: int = 128, **arguments) -> Network:
    return Network(builder, (side, side, 3), (side, side), 10, width=width, arguments=arguments)


def _imagenet(builder: str, side: int = 224) -> Network:
    return Network(builder, (side, side, 3), (side, side), 1000, official="imagenet")


def _hugging_face(builder: str, official: str, side: int = 224) -> Network:
    return Network(builder, (side, side, 3), (side, side), 1000, official=official)


MODELS = [
    ModelSpec(
        name="resnet50_v1",
        task="classification",
        source_format="keras",
        preprocessing=PIXELS,  # the caffe-style BGR means stand inside the network
        compact=_compact("keras.applications:ResNet50", width=1 / 8),
        full=_imagenet("keras.applications:ResNet50"),
        paper="He et al., Deep Residual Learning for Image Recognition, 2015",
        wrapper=CAFFE_INPUT,
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="resnet50_v2",
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=_compact("keras.applications:ResNet50V2", width=1 / 8),
        full=_imagenet("keras.applications:ResNet50V2"),
        paper="He et al., Identity Mappings in Deep Residual Networks, 2016",
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="inception_v3",
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=_compact("keras.applications:InceptionV3", width=1 / 8, side=160),  # half is > 75
        full=_imagenet("keras.applications:InceptionV3", side=299),
        paper="Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015",
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="mobilenet_v1",
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=_compact("keras.applications:MobileNet", alpha=0.35),
        full=_imagenet("keras.applications:MobileNet"),
        paper="Howard et al., MobileNets: Efficient Convolutional Neural Networks, 2017",
        recipes=(*TFLITE_RECIPES, "tflite_int8_per_tensor"),
    ),
    ModelSpec(
        name="mobilenet_v2",
        task="classification",
        source_format="keras",
        preprocessing=SIGNED_UNIT,
        compact=_compact("keras.applications:MobileNetV2", alpha=0.35),
        full=_imagenet("keras.applications:MobileNetV2"),
        paper="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018",
    ),
    ModelSpec(
        name="vgg16",
        task="classification",
        source_format="keras",
        preprocessing=PIXELS,  # the caffe-style BGR means stand inside the network
        compact=_compact("keras.applications:VGG16", width=1 / 12),
        full=_imagenet("keras.applications:VGG16"),
        paper="Simonyan and Zisserman, Very Deep Convolutional Networks, 2014",
        wrapper=CAFFE_INPUT,
        arm_speedup=2.0,
    ),
    ModelSpec(
        name="efficientnet_b0",
        task="classification",
        source_format="keras",
        preprocessing=PIXELS,  # a Rescaling and a Normalization layer stand inside the network
        compact=_compact("keras.applications:EfficientNetB0", width=0.35),
        full=_imagenet("keras.applications:EfficientNetB0"),
        paper="Tan and Le, EfficientNet: Rethinking Model Scaling, 2019",
    ),
    ModelSpec(
        name="efficientnet_edgetpu_s",
        task="classification",
        source_format="tflite",
        preprocessing=EDGETPU,
        compact=_compact(
            "int8gate.model_zoo.families.efficientnet_edgetpu:efficientnet_edgetpu_s",
            width=0.25,
        ),
        full=Network(
            "int8gate.model_zoo.families.efficientnet_edgetpu:efficientnet_edgetpu_s",
            (224, 224, 3),
            (224, 224),
            1001,  # class 0 is the background
            official="efficientnet-edgetpu-S_quant.tflite",
        ),
        paper="Gupta and Akin, Accelerator-aware Neural Network Design using AutoML, 2020",
        recipes=("prequantized", *TFLITE_RECIPES),
    ),
    ModelSpec(
        name="resnet50_torch",
        task="classification",
        source_format="pytorch",
        preprocessing=PIXELS,  # the means and standard deviations of ImageNet stand inside
        compact=_compact(
            "int8gate.model_zoo.families.hf_resnet:resnet",
            embedding=16,
            widths=(32, 64, 128, 256),
        ),
        full=_hugging_face("int8gate.model_zoo.families.hf_resnet:resnet", "microsoft/resnet-50"),
        paper="He et al., Deep Residual Learning for Image Recognition, 2015",
        training="int8gate.model_zoo.training.torch_digits:CLASSIFICATION",
        arm_speedup=2.0,
        recipes=TORCH_RECIPES,
    ),
    ModelSpec(
        name="vit",
        task="classification",
        source_format="pytorch",
        preprocessing=SIGNED_UNIT,
        compact=_compact(
            "int8gate.model_zoo.families.hf_vit:vit",
            side=64,
            patch=8,
            layers=12,
            heads=4,
            hidden=64,
        ),
        full=_hugging_face("int8gate.model_zoo.families.hf_vit:vit", "google/vit-base-patch16-224"),
        paper="Dosovitskiy et al., An Image Is Worth 16x16 Words, 2020",
        training="int8gate.model_zoo.training.torch_digits:TRANSFORMER",
        recipes=TRANSFORMER_RECIPES,
    ),
]
