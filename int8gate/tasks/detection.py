"""Boxes with a class and a score."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="detection",
    order=3,
    metrics=("map_50_95", "map_50"),
    data="pictures and COCO's annotations.json; or pictures alone",
    folders=("coco",),
    objects="boxes",
    decode="int8gate.model_zoo.user_models.decoding:detections",
    heads={
        "corners": "int8gate.model_zoo.user_models.known_heads:corners",
        "ctdet": "int8gate.model_zoo.user_models.known_heads:ctdet",
        "detr": "int8gate.model_zoo.user_models.known_heads:detr",
        "tf_detection": "int8gate.model_zoo.user_models.known_heads:tf_detection",
        "yolo": "int8gate.model_zoo.user_models.known_heads:yolo",
    },
    agreement="int8gate.validation.agreement:same_boxes",
    least_agreement=0.9,
    answers_are_places=True,
    scenes={
        "detection": Scenes("int8gate.calibration_data.synthetic.detection_scenes:draw", 5),
        "faces": Scenes("int8gate.calibration_data.synthetic.faces:draw", 1),
        "helmets": Scenes("int8gate.calibration_data.synthetic.helmets:draw", 3),
    },
    training="int8gate.model_zoo.families.ssd_mobilenet_v1.training:TRAINING",
    zoo="int8gate.model_zoo.detection",
)
