"""Object detection with PyTorch: YOLOv4-tiny from Darknet files, CenterNet for helmets."""

from calibration_data.preprocessing import SIGNED_UNIT, UNIT
from model_zoo.spec import TORCH_RECIPES, ModelSpec, Network

YOLOV4_TINY = "model_zoo.architectures.yolov4_tiny"
CENTERNET = "model_zoo.architectures.centernet:centernet"
DIGIT_ANCHORS = ((17, 30), (21, 32), (24, 39), (28, 42), (33, 45), (32, 50))  # 6-means of 1 - IoU

MODELS = [
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
            arguments={"anchors": DIGIT_ANCHORS, "masks": ((3, 4, 5), (0, 1, 2)), "width": 0.3},
        ),
        full=Network(f"{YOLOV4_TINY}:yolov4_tiny", (416, 416, 3), (416, 416), 80),
        paper="Wang et al., Scaled-YOLOv4: Scaling Cross Stage Partial Network, 2021",
        source=f"{YOLOV4_TINY}:darknet_source",
        decode=f"{YOLOV4_TINY}:decode",
        training="model_zoo.training.yolo:YOLO",
        recipes=TORCH_RECIPES,
    ),
    ModelSpec(
        name="centernet_helmet",
        task="detection",
        source_format="pytorch",
        preprocessing=SIGNED_UNIT,
        compact=Network(CENTERNET, (128, 128, 3), (128, 128), 3, arguments={"width": 0.2}),
        full=Network(CENTERNET, (512, 512, 3), (512, 512), 3),
        paper="Zhou et al., Objects as Points, 2019",
        decode="model_zoo.architectures.centernet_decoding:decode",
        scenes="helmets",
        training="model_zoo.training.centernet:CENTERNET",
        recipes=TORCH_RECIPES,
    ),
]
