"""Object detection with PyTorch networks. Compact: digits among strokes, faces. Full: COCO."""

from calibration_data.preprocessing import SIGNED_UNIT, UNIT
from model_zoo.spec import TORCH_RECIPES, ModelSpec, Network

DETR = "model_zoo.architectures.detr:detr"
FACE_SSD = "model_zoo.architectures.face_ssd:face_ssd"
NARROW_RESNET = {"embedding_size": 16, "hidden_sizes": (32, 64, 128, 256)}

MODELS = [
    ModelSpec(
        name="detr",
        task="detection",
        source_format="pytorch",
        preprocessing=UNIT,  # the network normalizes each channel by itself
        compact=Network(
            DETR,
            (128, 128, 3),
            (128, 128),
            5,
            arguments={
                "queries": 10,
                "width": 64,
                "heads": 4,
                "layers": 3,
                "feed_forward": 128,
                "backbone": NARROW_RESNET,
                "dilated": True,
            },
        ),
        full=Network(DETR, (800, 800, 3), (800, 800), 91, official="facebook/detr-resnet-50"),
        paper="Carion et al., End-to-end object detection with transformers, 2020",
        decode="model_zoo.architectures.detr_decoding:decode",
        training="model_zoo.training.detr:TRAINING",
        recipes=TORCH_RECIPES,
    ),
    ModelSpec(
        name="face_ssd_mobilenet_v1",
        task="detection",
        source_format="onnx",
        preprocessing=SIGNED_UNIT,
        compact=Network(FACE_SSD, (128, 128, 3), (128, 128), 1, arguments={"alpha": 0.3}),
        full=Network(FACE_SSD, (300, 300, 3), (300, 300), 1),
        paper="Huang et al., Speed/accuracy trade-offs for modern convolutional detectors, 2017",
        source="model_zoo.architectures.face_ssd:onnx_source",
        decode="model_zoo.architectures.face_ssd_decoding:decode",
        scenes="faces",
        training="model_zoo.training.face_ssd:TRAINING",
        recipes=TORCH_RECIPES,
    ),
]
