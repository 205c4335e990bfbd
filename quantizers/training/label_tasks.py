"""Which tasks have a loss of their labels. Loads nothing heavy."""

from __future__ import annotations

from int8gate.model_zoo.spec import ModelSpec
from int8gate.tasks.registry import task, tasks

SHARE = 0.5  # of the loss that labels have; the rest is the float network's


def where_of(spec: ModelSpec) -> str:
    """What a message calls a model: the table that declares it, or its name."""
    return spec.own.where if spec.own else spec.name


def refusal(spec: ModelSpec) -> str | None:
    """Why a model cannot learn from labels, and what to do; None where it can."""
    if (spec.own and spec.own.train_loss) or task(spec.task).label_loss:
        return None
    known = ", ".join(name for name, each in tasks().items() if each.label_loss)
    cure = 'declare one, [models.NAME.qat] loss = "module:function"' if spec.own else "train it"
    return (
        f"{where_of(spec)}: a training with labels has no loss for the task {spec.task} (it has "
        f"one for {known}): {cure}{', or' if spec.own else ''} without --train-labels"
    )
