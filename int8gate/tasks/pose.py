"""Keypoints of several people."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="pose",
    order=4,
    metrics=("oks_ap", "oks_ap_50"),
    data="pictures and COCO's annotations.json; or pictures alone",
    folders=("coco",),
    objects="people",
    decode="int8gate.model_zoo.user_models.decoding:people",
    heads={
        "movenet": "int8gate.model_zoo.user_models.known_heads:movenet",
        "posenet": "int8gate.model_zoo.user_models.known_heads:posenet",
    },
    agreement="int8gate.validation.agreement:same_people",
    least_agreement=0.9,
    answers_are_places=True,
    scenes={"pose": Scenes("int8gate.calibration_data.synthetic.figures:draw", 17)},
    training="int8gate.model_zoo.families.posenet.training:POSE",
    zoo="int8gate.model_zoo.pose",
)
