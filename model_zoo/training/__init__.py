"""Trains compact networks: what `int8gate train NAME` runs before it measures and stores.

    training_task.py     `Stage`, `TrainingTask`, `SeveralNetworks`: what a task brings
    loop.py              `train`: the stages, one after another (Keras)
    digits.py            classification and segmentation
    super_resolution.py  super-resolution
    torch_*.py           the same for PyTorch, and language and diffusion models

Other tasks stand with their networks: `families/NAME/training.py`.
"""

from int8gate.model_zoo.spec import ModelSpec
from int8gate.tasks.registry import task


def training_of(spec: ModelSpec) -> str:
    """The `TrainingTask` of a model, or its `SeveralNetworks`, as ``module:NAME``; raises
    ValueError where there is none.
    """
    training = spec.training or task(spec.task).training
    if training is None:
        raise ValueError(
            f"{spec.name}: task {spec.task} has no training of its own: declare the model's, "
            'training = "module:NAME"'
        )
    return training
