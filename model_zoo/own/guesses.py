"""What `int8gate init` guesses of a model file: the task, from the shapes of its ends.

A guess stands in the TOML with its alternatives beside it; nothing else rests on it.
"""

from __future__ import annotations

from model_zoo.own.inspection import End, ModelFile

KEYPOINTS = 17  # COCO's
SCALE = 2  # of super-resolution
PICTURES = (1, 3)  # channels


def task_of(found: ModelFile) -> str:
    """One of `declaration.TASKS`, "other" where the outputs tell nothing."""
    if found.format == "darknet":
        has_heads = any("[yolo]" in end.name for end in found.outputs)
        return "detection" if has_heads else "classification"
    maps = [_map_of(end, found) for end in found.outputs]
    if all(_is_row(end) for end in found.outputs):
        return "classification"
    if any(channels == KEYPOINTS for _, channels in maps):
        return "keypoints" if len(found.outputs) == 1 else "pose"
    if len(found.outputs) > 1:
        return "detection"
    shape = found.outputs[0].shape
    if len(shape) == 4:
        return "super_resolution" if _enlarges(found, *maps[0]) else "segmentation"
    return "detection" if len(shape) == 3 and not _is_embedding(shape) else "other"


def decode_of(found: ModelFile, task: str) -> str | None:
    """The name of a known head that the outputs look like; None where they look like none."""
    shapes = [end.shape for end in found.outputs]
    if task == "keypoints":
        return "heatmaps"
    if task == "pose" and len(shapes) == 5:
        return "posenet"
    if task != "detection" or found.format == "darknet":
        return None
    if any("detection_boxes" in end.name for end in found.outputs):
        return "tf_detection"
    sides = [len(shape) for shape in shapes]
    if sides == [4, 4, 4] and [shape[1] for shape in shapes[1:]] == [2, 2]:
        return "ctdet"
    if sides == [3, 3] and shapes[1][-1] == 4 and shapes[0][1] == shapes[1][1]:
        return "detr"
    if sides == [3] and None not in shapes[0][1:] and 4 < shapes[0][1] < shapes[0][2]:
        return "yolo"
    return None


def _is_row(end: End) -> bool:
    """A score for each class: one side beside the batch's is not 1."""
    return len(end.shape) > 1 and sum(side != 1 for side in end.shape[1:]) == 1


def _is_embedding(shape: tuple) -> bool:
    """Tokens of a transformer, or steps of a sequence: as many as nobody knows."""
    return None in shape[1:]


def _map_of(end: End, found: ModelFile) -> tuple[tuple, int | None]:
    """Height and width, and channels, of an output with four sides."""
    if len(end.shape) != 4:
        return (None, None), None
    layout, (height, width), _ = found.picture
    _, first, second, last = end.shape
    fits = _ratio((first, second), (height, width)), _ratio((second, last), (height, width))
    channels_last = fits[0] or (not fits[1] and layout == "nhwc")
    return ((first, second), last) if channels_last else ((second, last), first)


def _ratio(sides: tuple, of: tuple) -> bool:
    """Whether sides are those of a picture, larger or smaller by one factor."""
    if None in (*sides, *of):
        return False
    return sides[0] * of[1] == sides[1] * of[0]


def _enlarges(found: ModelFile, sides: tuple, channels: int | None) -> bool:
    """A picture that is larger than the input; of free sides one of a single channel, which can
    be no score for each class.
    """
    _, size, own = found.picture
    if None in (*sides, *size):
        return channels == own == 1
    return channels in PICTURES and sides == tuple(SCALE * side for side in size)
