"""Values for each sample, of arrays."""

from int8gate.tasks.task import Task

TASK = Task(
    name="regression",
    order=7,
    metrics=("rmse", "mae", "r2"),
    array_labels="the values",
    arrays="values",
    decode="int8gate.model_zoo.user_models.decoding:rows",
    read_by="the order and the units of the outputs' values against the labels'",
    label_loss="squared_error",
)
