"""What a task is scored by, and whether a run can score it."""

from __future__ import annotations

from int8gate.calibration_data import CLASSES_IN_SCENES
from int8gate.calibration_data.folders import TASKS as FOLDER_TASKS
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.settings import Settings

# The gated metric of a task, and those that are reported beside it.
METRICS_OF_TASK = {
    "classification": ("top1",),
    "segmentation": ("mean_iou",),
    "detection": ("map_50_95", "map_50"),
    "pose": ("oks_ap", "oks_ap_50"),
    "keypoints": ("pck", "oks_ap"),
    "super_resolution": ("psnr", "ssim"),
    "other": (),  # of a team's own model: fidelity to float
}
METRIC_OF_TASK = {task: names[0] for task, names in METRICS_OF_TASK.items() if names}


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
    if settings.data_dir is None and classes != CLASSES_IN_SCENES[spec.data]:
        return (
            f"accuracy not measured: the {settings.profile} network has {classes} classes and no "
            "labelled pictures of them come with the project"
            f"{': pass --data-dir DIR' if spec.task in FOLDER_TASKS else ''}"
        )
    return None
