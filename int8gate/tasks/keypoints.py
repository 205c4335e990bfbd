"""Keypoints of the one person in a crop."""

from int8gate.tasks.task import Scenes, Task

KEYPOINTS = 17  # of a person, as COCO numbers them
TASK = Task(
    name="keypoints",
    order=5,
    metrics=("pck", "oks_ap"),
    data="pictures of one person each and COCO's annotations.json; or alone",
    folders=("coco",),
    objects="person",
    decode="int8gate.model_zoo.user_models.decoding:people",
    heads={
        "heatmaps": "int8gate.model_zoo.user_models.known_heads:heatmaps",
        "movenet": "int8gate.model_zoo.user_models.known_heads:movenet",
    },
    agreement="int8gate.validation.agreement:same_people",
    least_agreement=0.9,
    answers_are_places=True,
    scenes={
        "keypoints": Scenes("int8gate.calibration_data.synthetic.single_figures:draw", KEYPOINTS)
    },
)
