"""Pictures of one kind each, of which a person is shown the two likeliest."""

from int8gate.tasks.registry import register
from int8gate.tasks.task import Task

register(
    Task(
        name="shortlist",
        order=100,
        metrics=("team_metrics:TOP2", "top1"),
        data="a folder of pictures for each kind, or labels.csv",
        folders=("folders", "csv"),
        decode="int8gate.model_zoo.user_models.decoding:rows",
        agreement="int8gate.validation.agreement:same_class",
        least_agreement=0.95,
        classes_of="int8gate.model_zoo.user_models.decoding:of_classifier",
    )
)
