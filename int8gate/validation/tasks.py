"""Whether a run can score a model."""

from __future__ import annotations

from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.settings import Settings
from int8gate.tasks.registry import scenes, task


def unscored_reason(spec: ModelSpec, settings: Settings) -> str | None:
    """Why accuracy cannot be measured in this run; None when it can."""
    if settings.random_weights:
        return (
            "accuracy not measured: the weights are random (structure only): leave it out of such "
            'a run with -m "not accuracy"'
        )
    if spec.own:
        return None
    classes = spec.network(settings.profile).classes
    if settings.data_dir is None and classes != scenes()[spec.data].classes:
        return (
            f"accuracy not measured: the {settings.profile} network has {classes} classes and no "
            "labelled pictures of them come with the project"
            f"{': pass --data-dir DIR' if task(spec.task).from_data_dir else ''}"
        )
    return None
