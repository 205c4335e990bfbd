"""Training DETR: predictions and objects paired by the Hungarian method (Carion et al. 2020).

Pairing and losses are those of `transformers`. Every layer of the decoder is trained, as in section
3.2 and the auxiliary losses of section 3.1. What the paper buys with 500 epochs must come within
minutes here, so the heads are trained on the encoder's places as well, where no pairing is needed:
a place answers for the box it lies in. The features then say what is where before the queries have
learned to look. As in the paper, the ResNet comes from a classifier: from random weights, classes
were still at chance (22% of 5) when 95% of the boxes were found.
"""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.detection_scenes import EASY, HARD, DetectionScenes
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.training_task import Stage, TrainingTask

CLASSIFIER = "resnet50_torch"  # of the zoo; its ResNet is DETR's
RESNET = "resnet."  # what the names of its ResNet's tensors begin with
NO_OBJECT = 0.1  # weight of the class "no object"
CLASS, L1, GIOU = 2.0, 5.0, 2.0  # weights in the cost of a pair and in the loss


def start(spec: ModelSpec, network) -> None:
    """Sets the ResNet from the zoo's trained classifier, as the paper's comes from ImageNet's."""
    import torch

    from int8gate.model_zoo.weights import SHIPPED, read_safetensors

    trained = read_safetensors(SHIPPED / f"{CLASSIFIER}.safetensors")
    network.backbone.load_state_dict(
        {
            name.removeprefix(RESNET): torch.from_numpy(array.copy())
            for name, array in trained.items()
            if name.startswith(RESNET)
        }
    )


def draw(spec: ModelSpec, split: str, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Scenes and labels (n, G, 5) at the network's size."""
    network = spec.network("compact")
    style = EASY if stage.easy else HARD
    scenes = DetectionScenes(split, network.size, network.input_shape[-1], stage.samples, style)
    return next(scenes.batches(stage.samples))


def encode(spec: ModelSpec, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes int64 (n, G), -1 where there is no object, and boxes [cx, cy, w, h] (n, G, 4)."""
    low, high = labels[..., 1:3], labels[..., 3:5]
    boxes = np.concatenate([(low + high) / 2, high - low], axis=-1)[..., [1, 0, 3, 2]]
    return labels[..., 0].astype(np.int64), boxes.astype(np.float32)


def loss(spec: ModelSpec):
    """Summed over the stages of a network in training mode; of its outputs in eval mode."""
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    height, width = spec.network("compact").size
    matcher = HungarianMatcher(class_cost=CLASS, bbox_cost=L1, giou_cost=GIOU)

    def total(outputs, targets):
        logits, boxes = outputs
        wanted = _objects(*targets)
        if not isinstance(logits, list):
            return _loss(logits, boxes.sigmoid(), wanted, matcher)
        dense = _dense_loss(logits[0], boxes[0].sigmoid(), *targets, height / width)
        decoded = zip(logits[1:], boxes[1:], strict=True)
        return dense + sum(_loss(of, at.sigmoid(), wanted, matcher) for of, at in decoded)

    return total


def _objects(classes, boxes) -> list[dict]:
    """Classes (k,) and boxes (k, 4) of each sample's objects, as transformers takes them."""
    real = classes >= 0
    each = zip(classes, boxes, real, strict=True)
    return [{"class_labels": of[is_real], "boxes": at[is_real]} for of, at, is_real in each]


def _dense_loss(logits, boxes, classes, wanted, tallness: float):
    """Loss of a grid of predictions (n, h * w, ...): a place answers for the box around it.

    A box too narrow for any has the place nearest to its centre.
    """
    import torch

    places = logits.shape[1]
    rows = round((places * tallness) ** 0.5)
    down = (torch.arange(rows) + 0.5) / rows
    across = (torch.arange(places // rows) + 0.5) / (places // rows)
    grid = torch.cartesian_prod(down, across).flip(1)  # [x, y]
    away = (grid[:, None] - wanted[:, None, :, :2]).abs()  # (n, places, G, 2)
    real = classes[:, None] >= 0
    inside = (away <= wanted[:, None, :, 2:] / 2).all(-1) & real
    nearest = away.square().sum(-1).argmin(1)  # (n, G)
    inside |= torch.nn.functional.one_hot(nearest, places).bool().transpose(1, 2) & real
    answers, found = inside.max(-1)
    kinds = torch.where(answers, classes.gather(1, found), -1)
    at = wanted.gather(1, found[..., None].expand(-1, -1, 4))
    answering = [row.nonzero().flatten() for row in answers]
    pairs = [(place, torch.arange(len(place))) for place in answering]  # what a matcher returns
    return _loss(logits, boxes, _objects(kinds, at), lambda *_: pairs)


def _loss(logits, boxes, objects: list[dict], matcher):
    """Of predictions (n, Q, ...), of which `matcher` pairs each with one object at most."""
    from transformers.loss.loss_for_object_detection import ImageLoss

    criterion = ImageLoss(matcher, logits.shape[-1] - 1, NO_OBJECT, ["labels", "boxes"])
    parts = criterion({"logits": logits, "pred_boxes": boxes}, objects)
    return CLASS * parts["loss_ce"] + L1 * parts["loss_bbox"] + GIOU * parts["loss_giou"]


TRAINING = TrainingTask(
    stages=(
        Stage(epochs=3, samples=8000, easy=True, learning_rate=8e-4, batch=16),
        Stage(epochs=5, samples=16000, learning_rate=6e-4, final=0.0, batch=16),
    ),
    draw=draw,
    loss=loss,
    encode=encode,
    start=start,
)
