"""A class for each sample."""

from int8gate.tasks.task import Scenes, Task

TASK = Task(
    name="classification",
    order=1,
    metrics=("top1",),
    data="a folder of pictures for each class, or labels.csv; or pictures alone",
    folders=("folders", "csv"),
    from_data_dir=True,
    arrays="class",
    array_labels="class numbers or names",
    decode="int8gate.model_zoo.user_models.decoding:rows",
    agreement="int8gate.validation.agreement:same_class",
    least_agreement=0.97,
    classes_of="int8gate.model_zoo.user_models.decoding:of_classifier",
    scenes={"classification": Scenes("int8gate.calibration_data.synthetic.scenes:draw", 10)},
    training="int8gate.model_zoo.training.digits:CLASSIFICATION",
    zoo="int8gate.model_zoo.classification",
    label_loss="cross_entropy",
)
