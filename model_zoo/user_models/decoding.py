"""From an own model's outputs to what its task's metric takes, and how many classes it has.

A function here is called as a `decode` hook is: with the outputs, a list of float32 arrays (n, ...)
in the file's order and layout, and the `Network` of the declaration (`size`, `classes`, and in
`arguments` what `resolve` knows: the input's `layout`, the `mean` and `std` of its preprocessing,
its `colours`, a Darknet file's `heads`, the names `classes` of the declaration, the `head`'s keys).
One that has a third parameter `inputs` gets what the
network was fed, too: a list of arrays (n, ...) in the order of its inputs. It returns one array,
float32 but of texts:

    classification      (n, classes)         scores
    segmentation        (n, h, w, classes)   scores of each pixel of the input
    detection           (n, K, 6)            [class, score, ymin, xmin, ymax, xmax], parts of the
                                             input 0..1; score -1 pads
    pose, keypoints     (n, P, 52)           [score, 17 x (y, x, score)], pixels of the input, in
                                             COCO's order; score -1 pads
    super_resolution    (n, 2h, 2w, 1)       luminance in grey levels (BT.601, 16..235)
    regression          (n, values)          values
    anomaly             (n,)                 scores
    text                (n,)                 texts, of dtype str
    language            (n, length, vocabulary)  logits of the token that follows

Each `Task` names its default; `decode` in the declaration replaces it by one of its `heads`, or by
a function of the user's, ``module:function``.
"""

from __future__ import annotations

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import ModelFile
from int8gate.tasks.registry import task, tasks

DETECTION, PERSON = 6, 52  # columns of a row
CHANNELS_LAST = (0, 2, 3, 1)


def rows(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The first output as (n, k), scores of classes or values, also where it is (n, k, 1, 1)."""
    return outputs[0].reshape(len(outputs[0]), -1)


def token_scores(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The first output as it is, (n, length, vocabulary)."""
    if outputs[0].ndim != 3:
        raise ValueError(
            f"task language: the first output is {shape_of(outputs[0])}, expected logits of every "
            "token at every place, (n, length, vocabulary): end the network there, or add decode"
        )
    return outputs[0]


def pixel_scores(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """The first output, (n, h, w, classes) or (n, classes, h, w), as (n, h, w, classes).

    Of a map of class numbers, (n, h, w) or with an axis of 1, the number's class has the score 1.
    """
    if (numbers := _class_numbers(outputs[0], declared)) is not None:
        if declared.classes is None:
            raise ValueError(
                "task segmentation: the first output is a map of class numbers, which does not "
                "tell how many classes there are: add classes = NUMBER"
            )
        return (numbers[..., None] == np.arange(declared.classes)).astype(np.float32)
    scores = _channels_last(outputs[0], declared.size, declared)
    if scores is None or scores.shape[-1] < 2:
        raise ValueError(
            f"task segmentation: the first output is {shape_of(outputs[0])}, expected a score of "
            f"each of two or more classes for every pixel, (n, {_by(declared.size)}, classes) or "
            "channels first: end the network there, or add decode"
        )
    return scores


def _class_numbers(values: np.ndarray, declared: Network) -> np.ndarray | None:
    """A map of whole numbers (n, h, w) at the input's size, None of other outputs."""
    sides = tuple(side for side in values.shape[1:] if side != 1)
    if values.ndim not in (3, 4) or sides != tuple(declared.size):
        return None
    return values.reshape(len(values), *sides) if np.array_equal(values, np.rint(values)) else None


def luminance_of(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """A picture of twice the size, in the unit and colour order of the input, as luminance.

    One channel is luminance, three are colours, clipped to 0..255 and rounded first: what a user
    would see is scored.
    """
    from int8gate.calibration_data.synthetic.super_resolution import SCALE, luminance

    large = tuple(SCALE * side for side in declared.size)
    picture = _channels_last(outputs[0], large, declared)
    if picture is None or picture.shape[-1] not in (1, 3):
        raise ValueError(
            f"task super_resolution: the first output is {shape_of(outputs[0])}, expected a "
            f"picture of {SCALE} times the input's size, (n, {_by(large)}, 1 or 3) or channels "
            "first: add decode"
        )
    told = declared.arguments
    levels = picture * np.float32(told["std"]) + np.float32(told["mean"])
    if picture.shape[-1] == 1:
        return levels.astype(np.float32)
    colours = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    colours = colours[..., ::-1] if told["colours"] == "bgr" else colours
    return luminance(colours)[..., None].astype(np.float32)


def detections(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Those of a Darknet file's [yolo] layers, or one output that holds them as they are scored."""
    if heads := declared.arguments.get("heads"):
        from int8gate.model_zoo.families.yolov4_tiny.decoding import detections as decoded

        return decoded(outputs, heads, declared.size)
    return _as_they_are("boxes", outputs, DETECTION)


def people(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """One output that holds people as they are scored."""
    return _as_they_are("people", outputs, PERSON)


def _as_they_are(objects: str, outputs: list[np.ndarray], columns: int) -> np.ndarray:
    if len(outputs) == 1 and outputs[0].ndim == 3 and outputs[0].shape[-1] == columns:
        return outputs[0]
    marked = ("boxes",) if objects == "boxes" else ("people", "person")
    judged = [task for task in tasks().values() if task.objects in marked]
    known = sorted({name for task in judged for name in task.heads})
    listed = ", ".join(f'"{name}"' for name in known)
    given = ", ".join(map(shape_of, outputs))
    raise ValueError(
        f"task {' or '.join(task.name for task in judged)}: the outputs are {given}, and what they "
        f"mean is not known: add decode, one of {listed}, or "
        f'"module:function" that makes (n, K, {columns}) of them'
    )


def _channels_last(
    values: np.ndarray, sides: tuple[int, int], declared: Network
) -> np.ndarray | None:
    """Maps of that height and width with channels last; None for others.

    Where both layouts fit, the input's holds.
    """
    if values.ndim != 4:
        return None
    is_last, is_first = values.shape[1:3] == tuple(sides), values.shape[2:] == tuple(sides)
    if is_first and (not is_last or declared.arguments["layout"] == "nchw"):
        return values.transpose(CHANNELS_LAST)
    return values if is_last else None


def shape_of(values: np.ndarray) -> str:
    """Of an output, in words."""
    return f"(n, {', '.join(map(str, values.shape[1:]))})"


def _by(sides) -> str:
    return ", ".join(map(str, sides))


def anomaly_scores(
    outputs: list[np.ndarray], declared: Network, inputs: list[np.ndarray]
) -> np.ndarray:
    """Scores (n,): a first output of one number as it is; one of the first input's shape is its
    reconstruction, whose mean squared error is the score.

    Raises ValueError for other outputs.
    """
    first, fed = outputs[0], inputs[0]
    if first[0].size == 1:
        return first.reshape(-1)
    if first[0].size != fed[0].size:
        raise ValueError(
            f"task anomaly: the first output is {first.shape[1:]}, expected one score, or the "
            f"input's reconstruction {fed.shape[1:]}: add decode, a function that makes (n,) of it"
        )
    apart = first.reshape(len(first), -1) - fed.reshape(len(fed), -1).astype(np.float32)
    return np.square(apart).mean(axis=1)


def texts(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Raises ValueError that lists the heads: no output is a text by itself."""
    judged = [task for task in tasks().values() if task.arrays == "text"]
    known = ", ".join(f'"{name}"' for task in judged for name in task.heads)
    given = ", ".join(map(shape_of, outputs))
    raise ValueError(
        f"task text: the outputs are {given}, and how they spell a text is not known: add decode, "
        f'{known} or "module:function" that makes texts (n,) of dtype str of them'
    )


def classes_of(own: OwnModel, file: ModelFile, size: tuple[int, int], heads=None) -> int | None:
    """Those of the declaration, else of the file; None where it does not tell.

    `heads` are those of a Darknet file. Raises ValueError where the two contradict each other.
    """
    found = heads[0].classes if heads else None
    count = task(own.task).classes_of
    if own.decode is None and count:
        found = resolve(count)(own, file, size)
    if own.classes and found not in (None, own.classes):
        raise ValueError(
            f"{own.where}: classes = {own.classes} contradicts the file, whose output is "
            f"{file.outputs[0]}: a network has an output for each class"
        )
    return own.classes or found


def of_classifier(own: OwnModel, file: ModelFile, size) -> int | None:
    """The one side of the first output that is not 1."""
    output = file.outputs[0]
    sides = [side for side in output.shape[1:] if side != 1]
    if len(sides) == 1:
        return sides[0]
    if not output.shape:
        return None
    cure = 'add decode, a function that makes (n, classes) of it, or declare task = "other"'
    if not sides:
        raise ValueError(
            f"{own.where}: output {output} is one number, which does not say which of two classes "
            f"it is for: {cure}"
        )
    raise ValueError(f"{own.where}: output {output} is no row of a score for each class: {cure}")


def of_label_map(own: OwnModel, file: ModelFile, size: tuple[int, int]) -> int | None:
    """The channels of a first output of the input's height and width."""
    shape = file.outputs[0].shape
    if len(shape) != 4 or None in shape[1:]:
        return None
    if shape[1:3] == size and shape[2:] != size:
        return shape[3]
    return shape[1] if shape[2:] == size else None
