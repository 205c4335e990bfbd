"""Trains compact networks: what `int8gate train NAME` runs before it measures and stores.

task.py     `Stage`, `TrainingTask`: what a task brings
digits.py   classification and segmentation
loop.py     `train`: the stages, one after another
"""

TRAINING_OF_TASK = {
    "classification": "model_zoo.training.digits:CLASSIFICATION",
    "segmentation": "model_zoo.training.digits:SEGMENTATION",
}
