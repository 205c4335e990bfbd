"""Object detection. Compact: handwritten digits among strokes, helmets, faces. Full: COCO."""

from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT, UNIT
from int8gate.model_zoo.spec import (
    TORCH_RECIPES,
    TRANSFORMER_RECIPES,
    ModelSpec,
    Network,
    beginning_with,
)

SSD = "int8gate.model_zoo.families.ssd_mobilenet_v1.network:ssd_mobilenet_v1"
YOLOV4_TINY = "int8gate.model_zoo.families.yolov4_tiny.network"
CENTERNET = "int8gate.model_zoo.families.centernet.network:centernet"
DIGIT_ANCHORS = ((17, 30), (21, 32), (24, 39), (28, 42), (33, 45), (32, 50))  # 6-means of 1 - IoU
DETR = "int8gate.model_zoo.families.detr.network:detr"
FACE_SSD = "int8gate.model_zoo.families.face_ssd.network:face_ssd"
NARROW_RESNET = {"embedding_size": 16, "hidden_sizes": (32, 64, 128, 256)}


MODELS = [
    ModelSpec(
        name="ssd_mobilenet_v1",
        task="detection",
        source_format="frozen_graph",
        preprocessing=PIXELS,  # the network scales to -1..1 by itself
        compact=Network(
            SSD, (128, 128, 3), (128, 128), 5, arguments={"alpha": 0.3}, picture=(160, 160)
        ),
        full=Network(SSD, (300, 300, 3), (300, 300), 90, picture=(480, 640)),
        paper="Huang et al., Speed/accuracy trade-offs for modern convolutional detectors, 2017",
        graph="int8gate.model_zoo.families.ssd_mobilenet_v1.graph:frozen_graph",
        decode="int8gate.model_zoo.families.ssd_mobilenet_v1.graph:decode",
    ),
    ModelSpec(
        name="yolov4_tiny",
        task="detection",
        source_format="darknet",
        preprocessing=UNIT,
        compact=Network(
            f"{YOLOV4_TINY}:yolov4_tiny",
            (128, 128, 3),
            (128, 128),
            5,
            arguments={
                "anchors": DIGIT_ANCHORS,
                "masks": ((3, 4, 5), (0, 1, 2)),
                "scale_x_y": 1.2,
                "width": 0.3,
            },
        ),
        full=Network(f"{YOLOV4_TINY}:yolov4_tiny", (416, 416, 3), (416, 416), 80),
        paper="Wang et al., Scaled-YOLOv4: Scaling Cross Stage Partial Network, 2021",
        source=f"{YOLOV4_TINY}:darknet_source",
        decode=f"{YOLOV4_TINY}:decode",
        training="int8gate.model_zoo.families.yolov4_tiny.training:YOLO",
        recipes=beginning_with("onnx_int8_mse", TORCH_RECIPES),  # loses least
    ),
    ModelSpec(
        name="centernet_helmet",
        task="detection",
        source_format="pytorch",
        preprocessing=SIGNED_UNIT,
        compact=Network(CENTERNET, (128, 128, 3), (128, 128), 3, arguments={"width": 0.2}),
        full=Network(CENTERNET, (512, 512, 3), (512, 512), 3),
        paper="Zhou et al., Objects as Points, 2019",
        decode="int8gate.model_zoo.families.centernet.decoding:decode",
        scenes="helmets",
        training="int8gate.model_zoo.families.centernet.training:CENTERNET",
        recipes=TORCH_RECIPES,
    ),
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
        decode="int8gate.model_zoo.families.detr.decoding:decode",
        training="int8gate.model_zoo.families.detr.training:TRAINING",
        recipes=TRANSFORMER_RECIPES,
    ),
    ModelSpec(
        name="face_ssd_mobilenet_v1",
        task="detection",
        source_format="onnx",
        preprocessing=SIGNED_UNIT,
        compact=Network(FACE_SSD, (128, 128, 3), (128, 128), 1, arguments={"alpha": 0.3}),
        full=Network(FACE_SSD, (300, 300, 3), (300, 300), 1),
        paper="Huang et al., Speed/accuracy trade-offs for modern convolutional detectors, 2017",
        source="int8gate.model_zoo.families.face_ssd.network:onnx_source",
        decode="int8gate.model_zoo.families.face_ssd.decoding:decode",
        scenes="faces",
        training="int8gate.model_zoo.families.face_ssd.training:TRAINING",
        recipes=TORCH_RECIPES,
    ),
]
