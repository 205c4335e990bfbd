"""A class for each pixel."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="segmentation",
    order=2,
    metrics=("mean_iou",),
    data="images/ and masks/ of equal names; or pictures alone",
    folders=("masks",),
    from_data_dir=True,
    decode="int8gate.model_zoo.user_models.decoding:pixel_scores",
    agreement="int8gate.validation.agreement:same_class",
    least_agreement=0.97,
    classes_of="int8gate.model_zoo.user_models.decoding:of_label_map",
    scenes={"segmentation": Scenes("int8gate.calibration_data.synthetic.scenes:draw", 2)},
    training="int8gate.model_zoo.training.digits:SEGMENTATION",
    zoo="int8gate.model_zoo.segmentation",
    label_loss="cross_entropy",
)
