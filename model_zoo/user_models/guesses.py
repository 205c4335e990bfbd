"""What `int8gate init` guesses of a model file: task and decoder, from its outputs.

Shapes, dtypes and names of the outputs are the evidence. A guess stands in the TOML with its
alternatives beside it; where the evidence fits several tasks there is none, and the key is left
open. Nothing else rests on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from int8gate.model_zoo.user_models.inspection import End, ModelFile
from int8gate.tasks.keypoints import KEYPOINTS

SCALE = 2  # of super-resolution
PICTURES = (1, 3)  # channels
QUERIES = 100  # of DETR
TF_DETECTION = (  # of TensorFlow's object-detection API, in the order of its decoder
    *("detection_boxes", "detection_scores", "detection_classes", "num_detections"),
)
STRIDES = (8, 16, 32)  # of the maps that YOLO's boxes come from
LINE = 64  # pixels: the most height of a line of text
STEPS = (4, 8)  # pixels of its width that CTC reads at once
EMBEDDINGS = (64, 128, 256, 512, 1024, 2048)  # more often features than classes
SCORES = re.compile(r"prob|softmax|score|class|logit|pred", re.I)
FEATURES = re.compile(r"embed|feature|descriptor", re.I)
DETR = re.compile(r"pred_(logits|boxes)", re.I)


@dataclass(frozen=True)
class Guess:
    """`task` and `decode` are None where the file does not tell them, `keys` are more lines.

    `needs_decode`: the outputs are no form that the task takes without.
    """

    task: str | None = None
    decode: str | None = None
    needs_decode: bool = False
    keys: dict[str, str] = field(default_factory=dict)


NOTHING = Guess()


def guess(found: ModelFile) -> Guess:
    """The first of the families below that the outputs belong to."""
    families = (_darknet, _several, _class_numbers, _keypoints, _map, _steps, _rows, _row)
    if any(end.is_text for end in found.outputs):
        return NOTHING
    return next((made for family in families if (made := family(found))), NOTHING)


def _darknet(found: ModelFile) -> Guess | None:
    if found.format != "darknet":
        return None
    has_heads = any("[yolo]" in end.name for end in found.outputs)
    return Guess("detection" if has_heads else "classification")


def _several(found: ModelFile) -> Guess | None:
    """Several outputs: heads of detectors and of pose estimators, or of nobody knows what."""
    shapes = [end.shape for end in found.outputs]
    if len(shapes) < 2:
        return None
    names = " ".join(end.name for end in found.outputs)
    sides = [len(shape) for shape in shapes]
    if "detection_boxes" in names or (sides == [3, 2, 2, 1] and shapes[0][-1] == 4):
        stems = tuple(end.name.partition(":")[0] for end in found.outputs)
        is_known = sides == [3, 2, 2, 1] or stems == TF_DETECTION  # their shapes may be unknown
        return Guess("detection", "tf_detection" if is_known else None, not is_known)
    if sides == [4, 4, 4] and (axis := _axis_of_pairs(shapes)):  # CenterNet's heat, sizes, offsets
        return Guess("detection", "ctdet" if axis == 1 else None, axis != 1)
    if any(_map_of(end, found)[1] == KEYPOINTS for end in found.outputs):
        return Guess("pose", "posenet" if len(shapes) == 5 else None, len(shapes) != 5)
    if pair := _boxes_and_scores(found):
        return pair
    if len(set(sides)) == 1 and sides[0] in (4, 5) and _is_pyramid(found):
        return Guess("detection", None, True)
    return NOTHING


def _axis_of_pairs(shapes: list[tuple]) -> int | None:
    """Where the last two of three maps have two channels, beside sides that are those of the first:
    1 or 3, None where they do not.
    """
    for axis, sides in ((1, slice(2, 4)), (3, slice(1, 3))):
        is_pair = all(shape[axis] == 2 for shape in shapes[1:])
        if is_pair and len({shape[sides] for shape in shapes}) == 1:
            return axis
    return None


def _boxes_and_scores(found: ModelFile) -> Guess | None:
    """Boxes (n, N, 4) and scores (n, N, classes) of as many: queries of DETR, or corners."""
    if len(found.outputs) != 2:
        return None
    first, second = (_without_ones(end.shape) for end in found.outputs)
    if not (len(first) == len(second) == 3 and first[1] == second[1] and first[1] is not None):
        return None
    if all(DETR.search(end.name) for end in found.outputs) or first[1] == QUERIES:
        is_in_order = second[-1] == 4
        return Guess("detection", "detr" if is_in_order else None, not is_in_order)
    if 4 not in (first[-1], second[-1]):
        return None
    return Guess(
        "detection",
        "corners",
        keys={"box_order": "xyxy", "box_unit": "fraction", "background": "first"},
    )


def _class_numbers(found: ModelFile) -> Guess | None:
    """One output of whole numbers: what an ArgMax leaves."""
    (end,) = found.outputs
    if end.scale is not None or not end.dtype.startswith(("int", "uint")):
        return None
    _, size, _ = found.picture
    sides = tuple(side for side in end.shape[1:] if side != 1)
    is_map = len(end.shape) in (3, 4) and len(sides) == 2 and (None in size or sides == size)
    return Guess("segmentation", keys={"classes": ""}) if is_map else NOTHING


def _keypoints(found: ModelFile) -> Guess | None:
    """MoveNet's rows [y, x, score], or a map of each keypoint, smaller than the picture."""
    (end,) = found.outputs
    if len(end.shape) == 4 and end.shape[2:] == (KEYPOINTS, 3):
        return Guess("keypoints" if end.shape[1] == 1 else "pose", "movenet")
    sides, channels = _map_of(end, found)
    if channels != KEYPOINTS:
        return None
    return NOTHING if sides == found.picture[1] else Guess("keypoints", "heatmaps")


def _map(found: ModelFile) -> Guess | None:
    """One map: scores of each pixel, or a larger picture."""
    (end,) = found.outputs
    if len(end.shape) != 4 or _is_row(end):
        return None
    sides, channels = _map_of(end, found)
    _, (height, width), own = found.picture
    if None in sides or height is None or width is None:
        # One channel can be no score for each class.
        if channels == own == 1:
            return Guess("super_resolution")
        return Guess("segmentation") if _is_class_count(channels) else NOTHING
    if channels in PICTURES and sides == (SCALE * height, SCALE * width):
        return Guess("super_resolution")
    is_same = sides == (height, width)
    return Guess("segmentation") if is_same and _is_class_count(channels) else NOTHING


def _is_class_count(channels: int | None) -> bool:
    """Not of a picture, a mask or a depth map."""
    return channels is not None and channels not in PICTURES


def _steps(found: ModelFile) -> Guess | None:
    """One output of scores for each step along a line of text, (n, steps, symbols)."""
    (end,) = found.outputs
    _, (height, width), _ = found.picture
    if len(end.shape) != 3 or height is None or height > LINE:
        return None
    steps = end.shape[1]
    if steps is None or width is None:
        fits = steps is width
    else:
        fits = width >= 2 * height and any(abs(steps * each - width) <= each for each in STEPS)
    if fits:
        return Guess("text", "ctc", keys={"classes": "", "blank": ""})
    return None


def _rows(found: ModelFile) -> Guess | None:
    """One output (n, columns, boxes) or (n, boxes, columns): YOLO's, as many boxes as places."""
    (end,) = found.outputs
    if len(end.shape) != 3 or _is_row(end):
        return None
    _, first, second = end.shape
    if first is None or second is None:
        return None
    _, (height, width), _ = found.picture
    if height is None or width is None:
        return NOTHING
    places = sum((height // stride) * (width // stride) for stride in STRIDES)
    if second == places and first > 4:
        return Guess("detection", "yolo")
    if first in (places, 3 * places) and second > 4:
        return Guess("detection", None, True)
    return NOTHING


def _row(found: ModelFile) -> Guess | None:
    """One score for each class."""
    (end,) = found.outputs
    if not _is_row(end) or FEATURES.search(end.name):
        return None
    (count,) = (side for side in end.shape[1:] if side != 1)
    is_told = SCORES.search(end.name) or count not in EMBEDDINGS
    return Guess("classification") if is_told else NOTHING


def _is_row(end: End) -> bool:
    """One side beside the batch's is not 1."""
    return len(end.shape) > 1 and sum(side != 1 for side in end.shape[1:]) == 1


def _without_ones(shape: tuple) -> tuple:
    """(n, N, 4) of (n, N, 1, 4), which some exporters write."""
    return (*shape[:2], shape[3]) if len(shape) == 4 and shape[2] == 1 else shape


def _is_pyramid(found: ModelFile) -> bool:
    """Maps of which each has half the sides of another: raw heads of a detector."""
    heights = {end.shape[1:-1] for end in found.outputs} | {end.shape[2:] for end in found.outputs}
    known = {sides for sides in heights if None not in sides}
    return any(tuple(2 * side for side in sides if side is not None) in known for sides in known)


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
