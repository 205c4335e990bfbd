"""`Task`: what a model is judged by, and what its data look like. Everything about it, once.

A task is a file of this folder with a `TASK`, or a user's own (`registry.register`). What stands in
a higher room is named ``module:function`` and looked up where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenes:
    """What draws a compact network's samples, ``module:function``, called with (data, split, size,
    channels), of a network that reads text with (split, arrays of a sample, tokenizer); and how
    many classes they have (None where there are none).
    """

    draw: str
    classes: int | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Attributes
    ----------
    metrics : names of `validation.metrics.registry`, the gated one first; none where the outputs'
        fidelity to the float model is all that can be judged.
    data : what a user's data hold, a line for `int8gate init`.
    array_labels : what labels of arrays are, in words, for `init`.
    folders : forms of a folder's labels (`calibration_data.folders.forms`), beside pictures alone;
        the first is that of `--data-dir`, where `from_data_dir`. `any_folder` takes all forms.
    objects : what COCO's annotations mark: "boxes", "people", or "person" (one in each picture).
    arrays : the kind of labels that arrays have: "class", "values", "anomaly", "text", "any"; None
        where arrays are not taken.
    decode : from outputs to what the metrics take, ``module:function``; `heads` are others by name.
    agreement : how often two models' answers are the same, ``module:function``; `least_agreement`
        where expectations do not say, a fraction. `answers_are_places`: boxes or keypoints, whose
        outputs are read only where something is.
    to_float : what else is recorded of a quantized model beside the float one, by name: functions
        of both models' decoded outputs (`validation.to_float`), ``module:function``.
    generation : the like of both models as sessions, which they run by themselves
        (`validation.greedy`); of quantized files alone.
    shows_pictures : decoded outputs are pictures (n, h, w, channels) in 0..1, of which the report
        shows the first beside float's.
    is_for_users : a TOML may name it.
    accuracy : what a user's quantized model must reach where its declaration does not say, as
        arithmetic on the float metric; None: as `expectations.toml` has it.
    read_by : what of a declaration says how its outputs are read: what to look at where a model
        is no better than chance.
    classes_of : how many classes a file tells apart, ``module:function``.
    scenes : the zoo's data by name, the task's own first, `training` its `TrainingTask` or
        `SeveralNetworks`, `zoo` the module that declares its models.
    label_loss : what a training with labels adds of outputs as the network gives them
        (`training.label_loss`): "cross_entropy" of classes, of pixels too, "squared_error" of
        numbers; None where there is none.
    packages : what its metrics import beside what everything needs.
    order : of the tasks in lists.
    """

    name: str
    order: int
    metrics: tuple[str, ...] = ()
    data: str = "the folder of your pictures"
    array_labels: str = "any"
    folders: tuple[str, ...] = ()
    from_data_dir: bool = False
    any_folder: bool = False
    objects: str | None = None
    arrays: str | None = None
    decode: str | None = None
    heads: dict[str, str] = field(default_factory=dict)
    agreement: str | None = None
    least_agreement: float | None = None
    answers_are_places: bool = False
    to_float: dict[str, str] = field(default_factory=dict)
    generation: dict[str, str] = field(default_factory=dict)
    shows_pictures: bool = False
    is_for_users: bool = True
    accuracy: str | None = None
    read_by: str = (
        "the order of the classes (`classes` names them, folders are numbered in sorted order)"
    )
    classes_of: str | None = None
    scenes: dict[str, Scenes] = field(default_factory=dict)
    training: str | None = None
    zoo: str | None = None
    label_loss: str | None = None
    packages: tuple[str, ...] = ()

    @property
    def has_people(self) -> bool:
        return self.objects in ("people", "person")
