"""Trains compact networks: what `int8gate train NAME` runs before it measures and stores.

task.py     `Stage`, `TrainingTask`: what a task brings
digits.py   classification and segmentation
pose.py     pose estimation
loop.py     `train`: the stages, one after another (Keras)
torch_loop.py  the same for PyTorch
"""

from int8gate.model_zoo.spec import ModelSpec

TRAINING_OF_TASK = {
    "classification": "int8gate.model_zoo.training.digits:CLASSIFICATION",
    "segmentation": "int8gate.model_zoo.training.digits:SEGMENTATION",
    "detection": "int8gate.model_zoo.families.ssd_mobilenet_v1.training:TRAINING",
    "super_resolution": "int8gate.model_zoo.training.super_resolution:SUPER_RESOLUTION",
    "pose": "int8gate.model_zoo.families.posenet.training:POSE",
}


def training_of(spec: ModelSpec) -> str:
    """The `TrainingTask` of a model, as ``module:NAME``."""
    return spec.training or TRAINING_OF_TASK[spec.task]
