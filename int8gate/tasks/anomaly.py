"""What is not as usual: a score, or the error of an autoencoder's reconstruction, of arrays."""

from int8gate.tasks.task import Task

TASK = Task(
    name="anomaly",
    order=8,
    metrics=("auc",),
    array_labels="1 of anomalies, else 0",
    arrays="anomaly",
    decode="int8gate.model_zoo.user_models.decoding:anomaly_scores",
    read_by="what the score means (it is large for anomalies)",
)
