"""Training DETR: predictions and objects paired by the Hungarian method (Carion et al. 2020).

Every layer of the decoder is trained, as in section 3.2 and the auxiliary losses of section 3.1.
What the paper buys with 500 epochs must come within minutes here, so the heads are trained on the
encoder's places as well, where no pairing is needed: a place answers for the box it lies in. The
features then say what is where before the queries have learned to look. As in the paper, the ResNet
comes from a classifier: from random weights, classes were still at chance (22% of 5) when 95% of
the boxes were found.
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
    network = spec.compact
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
    height, width = spec.compact.size

    def total(outputs, targets):
        logits, boxes = outputs
        if not isinstance(logits, list):
            return _set_loss(logits, boxes.sigmoid(), *targets)
        dense = _dense_loss(logits[0], boxes[0].sigmoid(), *targets, height / width)
        decoded = zip(logits[1:], boxes[1:], strict=True)
        return dense + sum(_set_loss(of, at.sigmoid(), *targets) for of, at in decoded)

    return total


def _set_loss(logits, boxes, classes, wanted):
    """Loss of predictions (n, Q, ...), each paired with one object of (n, G) at most."""
    import torch

    sample, prediction, found = _pairs(logits, boxes, classes, wanted)
    target = torch.full(logits.shape[:2], logits.shape[-1] - 1)
    target[sample, prediction] = classes[sample, found]
    return _loss(logits, target, boxes[sample, prediction], wanted[sample, found])


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
    target = torch.where(answers, classes.gather(1, found), logits.shape[-1] - 1)
    sample, place = answers.nonzero(as_tuple=True)
    return _loss(logits, target, boxes[sample, place], wanted[sample, found[sample, place]])


def _loss(logits, target, boxes, wanted):
    """Of classes (n, Q), and of as many boxes (m, 4) as answer for one, wanted to be (m, 4)."""
    import torch

    weight = torch.ones(logits.shape[-1])
    weight[-1] = NO_OBJECT
    entropy = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)
    distance = (boxes - wanted).abs().sum(-1)
    misplaced = (L1 * distance + GIOU * (1 - giou(boxes, wanted))).sum()
    return CLASS * entropy + misplaced / max(len(boxes), 1)


def _pairs(logits, boxes, classes, wanted) -> tuple:
    """Sample, prediction and object of every pair: the cheapest way to pair each sample's."""
    import torch
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        likely = logits.softmax(-1).gather(
            2, classes.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)
        )
        distance = torch.cdist(boxes, wanted, p=1)
        overlap = giou(boxes[:, :, None], wanted[:, None])
        cost = (L1 * distance - GIOU * overlap - CLASS * likely).numpy()
    pairs = []
    for number, real in enumerate((classes >= 0).numpy()):
        objects = np.flatnonzero(real)
        prediction, of = linear_sum_assignment(cost[number][:, objects])
        pairs.append(np.stack([np.full(len(of), number), prediction, objects[of]]))
    return tuple(torch.from_numpy(np.concatenate(pairs, axis=1)))


def giou(boxes, others):
    """Generalized intersection over union (Rezatofighi et al. 2019) of boxes [cx, cy, w, h]."""
    import torch

    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    bottom, top = others[..., :2] - others[..., 2:] / 2, others[..., :2] + others[..., 2:] / 2
    common = (torch.minimum(high, top) - torch.maximum(low, bottom)).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - common
    hull = (torch.maximum(high, top) - torch.minimum(low, bottom)).prod(-1)
    return common / union.clamp(min=1e-9) - (hull - union) / hull.clamp(min=1e-9)


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
