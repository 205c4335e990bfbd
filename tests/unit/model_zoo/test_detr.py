"""DETR: the network against the library's own, the pairing, the losses, decoding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.spec import Network

CLASSES, QUERIES = 3, 4
SIZE = (64, 96)
TINY = {
    "queries": QUERIES,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "feed_forward": 24,
    "backbone": {"embedding_size": 8, "hidden_sizes": (8, 16, 16, 24), "depths": (1, 1, 1, 1)},
}
DECLARED = Network(
    "int8gate.model_zoo.families.detr.network:detr", (*SIZE, 3), SIZE, CLASSES, arguments=TINY
)
part = st.floats(0.05, 0.45)
box = st.builds(lambda y, x, h, w: [y, x, y + h, x + w], part, part, part, part)
scene = st.lists(st.tuples(st.integers(0, CLASSES - 1), box), min_size=1, max_size=3)


def tiny(**changed):
    from int8gate.model_zoo.families.detr.network import detr

    torch.manual_seed(2)
    return detr((*SIZE, 3), CLASSES, **{**TINY, **changed}).eval()


def pictures(count: int = 2):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def spec():
    from int8gate.model_zoo.detection import MODELS

    return next(of for of in MODELS if (of.training or "").endswith("detr.training:TRAINING"))


def labels_of(*scenes) -> np.ndarray:
    label = np.full((len(scenes), 4, 5), -1, np.float32)
    for rows, objects in zip(label, scenes, strict=True):
        for row, (of_class, bounds) in zip(rows, objects, strict=False):
            row[:] = [of_class, *bounds]
    return label


def targets_of(*scenes) -> tuple:
    from int8gate.model_zoo.families.detr.training import encode

    return tuple(map(torch.from_numpy, encode(spec(), labels_of(*scenes))))


def certain(classes, boxes, queries: int = QUERIES):
    """Outputs that are sure of exactly these objects, classes (n, G) and boxes (n, G, 4)."""
    count, objects = classes.shape
    logits = torch.full((count, queries, CLASSES + 1), -30.0)
    logits[..., -1] = 30
    found = torch.where(classes < 0, CLASSES, classes)
    logits[:, :objects] = 60 * torch.nn.functional.one_hot(found, CLASSES + 1) - 30.0
    at = torch.full((count, queries, 4), 0.5)
    at[:, :objects] = boxes.clamp(1e-4, 1 - 1e-4)
    return logits, at.logit()


def of_the_library():
    """The library's own network as `TINY` has it, with normalizations that do something."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    torch.manual_seed(1)
    config = DetrConfig(
        backbone_config=ResNetConfig(out_features=["stage4"], **TINY["backbone"]),
        num_labels=CLASSES,
        num_queries=QUERIES,
        d_model=TINY["width"],
        encoder_layers=TINY["layers"],
        decoder_layers=TINY["layers"],
        encoder_ffn_dim=TINY["feed_forward"],
        decoder_ffn_dim=TINY["feed_forward"],
        encoder_attention_heads=TINY["heads"],
        decoder_attention_heads=TINY["heads"],
    )
    network = DetrForObjectDetection(config).eval()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_var", "normalization.weight")):
            buffer.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "normalization.bias")):
            buffer.normal_()
    return network


def test_the_outputs_are_those_of_the_library():
    """Run whole, with its mask and its frozen normalizations, on normalized pictures."""
    from int8gate.model_zoo.families.detr.network import MEAN, STD, Detr, _thaw

    library = of_the_library()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        expected = library(pixel_values=(pictures() - mean) / std)
        _thaw(library.model.backbone.model)
        logits, boxes = Detr(library, SIZE, 32).eval()(pictures())
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(boxes.sigmoid(), expected.pred_boxes, atol=1e-5, rtol=1e-4)


def test_published_weights_are_read_whatever_their_configuration_says(tmp_path):
    """The published one says null where today's library wants a bool."""
    import json

    from int8gate.model_zoo.families.detr.network import Detr, _thaw

    library = of_the_library()
    library.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dilation": None}))
    _thaw(library.model.backbone.model)
    with torch.no_grad():
        expected = Detr(library, SIZE, 32).eval()(pictures())
        found = tiny(weights=str(tmp_path))(pictures())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="tensors of the network are not in them"):
        tiny(weights=str(tmp_path), layers=3)


def test_what_comes_out():
    logits, boxes = tiny()(pictures())
    assert logits.shape == (2, QUERIES, CLASSES + 1)
    assert boxes.shape == (2, QUERIES, 4)
    assert boxes.min() < 0, "before the sigmoid"


def test_all_of_it_is_trained_and_nothing_is_frozen():
    network = tiny()
    assert all(parameter.requires_grad for parameter in network.parameters())
    kinds = {type(module).__name__ for module in network.modules()}
    assert "BatchNorm2d" in kinds
    assert "DetrFrozenBatchNorm2d" not in kinds


def test_a_dilated_one_sees_twice_as_finely_with_the_same_weights():
    plain, dilated = tiny(), tiny(dilated=True)
    dilated.load_state_dict(plain.state_dict())
    assert plain.position.shape[1] == 2 * 3
    assert dilated.position.shape[1] == 4 * 6
    with torch.no_grad():
        coarse = plain.backbone(pictures()).feature_maps[-1]
        fine = dilated.backbone(pictures()).feature_maps[-1]
    assert coarse.shape[-2:] == (2, 3)
    assert fine.shape[-2:] == (4, 6)


def test_training_shows_every_stage_the_last_as_in_eval_mode():
    network = tiny()
    with torch.no_grad():
        last_logits, last_boxes = network(pictures())
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        logits, boxes = network(pictures())
    assert len(logits) == len(boxes) == 1 + TINY["layers"]
    assert logits[0].shape == (2, 2 * 3, CLASSES + 1)
    torch.testing.assert_close(logits[-1], last_logits)
    torch.testing.assert_close(boxes[-1], last_boxes)


def test_training_starts_from_the_classifiers_residual_network(tmp_path, monkeypatch):
    from int8gate.model_zoo import torch_networks, weights
    from int8gate.model_zoo.families.detr.training import CLASSIFIER, start
    from int8gate.model_zoo.families.hf_resnet import resnet

    torch.manual_seed(6)
    of = TINY["backbone"]
    classifier = resnet(
        (*SIZE, 3), 10, depths=of["depths"], embedding=of["embedding_size"],
        widths=of["hidden_sizes"],
    ).eval()  # fmt: skip
    weights.store(torch_networks.tensors_of(classifier), CLASSIFIER, {}, tmp_path)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    network = tiny()
    start(spec(), network)
    with torch.no_grad():
        found = network.backbone(pictures()).feature_maps[-1]
        wanted = classifier.resnet(pictures()).last_hidden_state
    torch.testing.assert_close(found, wanted)


def test_weights_hold_for_every_size():
    from int8gate.model_zoo.families.detr.network import detr

    other = detr((96, 64, 3), CLASSES, **TINY)
    other.load_state_dict(tiny().state_dict())
    assert other.position.shape != tiny().position.shape or other.position.shape[1] == 6
    logits, _ = other.eval()(torch.rand(1, 3, 96, 64))
    assert torch.isfinite(logits).all()


def test_the_exported_graph_is_plain(tmp_path):
    """Neither masks nor position embeddings are computed at run time."""
    import onnx
    import onnxruntime

    network, shown, path = tiny(), pictures(1), tmp_path / "model.onnx"
    torch.onnx.export(
        torch.export.export(network, (shown,)),
        dynamo=True, external_data=False, input_names=["image"], verbose=False,
    ).save(path)  # fmt: skip
    needed = {"Add", "MatMul", "Gemm", "Relu", "Conv", "Reshape", "Transpose", "Mul", "Softmax"}
    needed |= {"LayerNormalization", "Sub", "Div", "MaxPool"}
    assert {node.op_type for node in onnx.load(path).graph.node} <= needed
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"image": shown.numpy()})
    for found, wanted in zip(outputs, network(shown), strict=True):
        np.testing.assert_allclose(found, wanted.detach(), atol=1e-5)


def drawn(seed: int, places: int) -> tuple:
    """Outputs (3, places, ...) at random and targets of 0 to 3 objects each."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, places, CLASSES + 1, generator=generator)
    boxes = torch.rand(3, places, 4, generator=generator) * 0.5 + 0.1
    wanted = torch.rand(3, 4, 4, generator=generator) * 0.5 + 0.1
    classes = torch.randint(0, CLASSES, (3, 4), generator=generator)
    for sample, objects in enumerate(torch.randint(0, 4, (3,), generator=generator)):
        classes[sample, objects:] = -1
    return (logits, boxes), (classes, wanted)


def plain_giou(one, other) -> float:
    """Rezatofighi et al. 2019, of boxes [cx, cy, w, h]."""
    one, other = ((box[:2] - box[2:] / 2, box[:2] + box[2:] / 2) for box in (one, other))
    sides = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    common = np.prod(np.maximum(sides, 0))
    union = sum(np.prod(high - low) for low, high in (one, other)) - common
    hull = np.prod(np.maximum(one[1], other[1]) - np.minimum(one[0], other[0]))
    return common / union - (hull - union) / hull


def plain_loss(outputs, targets, pairs) -> float:
    """Carion et al. 2020, section 3.1, of `pairs` (sample, prediction, object)."""
    from int8gate.model_zoo.families.detr.training import CLASS, GIOU, L1, NO_OBJECT

    (logits, boxes), (classes, wanted) = (
        [each.double().numpy() for each in of] for of in (outputs, targets)
    )
    kinds = np.full(logits.shape[:2], CLASSES)
    misplaced = 0.0
    for sample, prediction, number in pairs:
        kinds[sample, prediction] = classes[sample, number]
        at, of = boxes[sample, prediction], wanted[sample, number]
        misplaced += L1 * np.abs(at - of).sum() + GIOU * (1 - plain_giou(at, of))
    likely = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    surprise = -np.log(np.take_along_axis(likely, kinds[..., None], -1)[..., 0])
    weights = np.where(kinds == CLASSES, NO_OBJECT, 1)
    entropy = (weights * surprise).sum() / weights.sum()
    return CLASS * entropy + misplaced / max(len(pairs), 1)


def cheapest(outputs, targets) -> list[tuple[int, int, int]]:
    """The pairs (sample, prediction, object) that cost least, of all ways to pair."""
    from int8gate.model_zoo.families.detr.training import CLASS, GIOU, L1

    def cost(sample: int, query: int, number: int) -> float:
        at, of = outputs[1][sample, query], targets[1][sample, number]
        likely = outputs[0][sample, query].softmax(-1)[targets[0][sample, number]]
        overlap = plain_giou(at.double().numpy(), of.double().numpy())
        return float(L1 * (at - of).abs().sum() - GIOU * overlap - CLASS * likely)

    pairs = []
    for sample, classes in enumerate(targets[0]):
        ways = itertools.permutations(range(QUERIES), int((classes >= 0).sum()))
        each = ([(sample, query, number) for number, query in enumerate(way)] for way in ways)
        pairs += min(each, key=lambda way: sum(cost(*pair) for pair in way))
    return pairs


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_loss_is_the_papers_of_the_cheapest_pairs(seed):
    """Against trying every way to pair; a sample without objects and padded rows are among them."""
    from int8gate.model_zoo.families.detr.training import loss

    outputs, targets = drawn(seed, QUERIES)
    wanted = plain_loss(outputs, targets, cheapest(outputs, targets))
    found = loss(spec())((outputs[0], outputs[1].logit()), targets)
    assert float(found) == pytest.approx(wanted, rel=1e-4)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_loss_of_places_is_the_papers_without_pairing(seed):
    """A place answers for the first box that it lies in or is the nearest to."""
    from int8gate.model_zoo.families.detr.training import _dense_loss

    outputs, targets = drawn(seed, 4 * 6)
    centres = torch.tensor([[(x + 0.5) / 6, (y + 0.5) / 4] for y in range(4) for x in range(6)])
    pairs = {}
    for sample, classes in enumerate(targets[0]):
        for number in reversed(range(int((classes >= 0).sum()))):
            centre, size = targets[1][sample, number].split(2)
            away = (centres - centre).abs()
            inside = (away <= size / 2).all(-1).nonzero().flatten().tolist()
            nearest = int(away.square().sum(-1).argmin())
            pairs |= {(sample, place): number for place in (*inside, nearest)}
    answers = [(*place, number) for place, number in pairs.items()]
    found = _dense_loss(*outputs, *targets, 4 / 6)
    assert float(found) == pytest.approx(plain_loss(outputs, targets, answers), rel=1e-4)


@given(st.lists(scene, min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_loss_asks_for_a_set(scenes, random):
    """It vanishes at the objects whichever query finds which, and nowhere near them."""
    from int8gate.model_zoo.families.detr.training import loss

    of = loss(spec())
    targets = targets_of(*scenes)
    logits, boxes = certain(*targets)
    order = random.sample(range(QUERIES), QUERIES)
    exact = of((logits[:, order], boxes[:, order]), targets)
    assert exact < 1e-3
    assert of((-logits, boxes), targets) > exact + 1
    assert of((logits, boxes + 1), targets) > exact + 0.1


@given(st.integers(0, CLASSES - 1), box)
@settings(max_examples=25, deadline=None)
def test_the_places_in_a_box_and_the_nearest_answer_for_it(of_class, bounds):
    """A grid that is right at just these places leaves nothing to learn; one place less does."""
    import torch

    from int8gate.model_zoo.families.detr.training import _dense_loss

    classes, wanted = targets_of([(of_class, bounds)])
    places = (np.array(list(itertools.product(range(4), range(6)))) + 0.5) / [4, 6]
    low, high = bounds[:2], bounds[2:]
    apart = np.linalg.norm(places - np.add(low, high) / 2, axis=1)
    answers = ((places > low) & (places < high)).all(1) | (apart == apart.min())
    assume(np.sort(apart)[1] > apart.min() + 1e-4)  # which of two is the nearest is open
    assume(np.abs(np.stack([places - low, places - high])).min() > 1e-4)  # and so is the edge
    found = torch.where(torch.from_numpy(answers), of_class, CLASSES)
    logits = 60 * torch.nn.functional.one_hot(found, CLASSES + 1)[None] - 30.0
    boxes = wanted[:, :1].expand(1, len(places), 4).clone()
    exact = _dense_loss(logits, boxes, classes, wanted, 4 / 6)
    assert exact < 1e-4
    one = int(answers.argmax())
    logits[0, one] = -logits[0, one]
    boxes[0, one] = 0.9
    assert _dense_loss(logits, boxes, classes, wanted, 4 / 6) > exact + 0.1


@given(scene)
@settings(deadline=None)
def test_decoding_finds_what_the_outputs_are_sure_of(objects):

    from int8gate.model_zoo.families.detr.decoding import decode

    outputs = certain(*targets_of(objects))
    rows = decode([output.numpy() for output in outputs], DECLARED)
    assert rows.shape == (1, QUERIES, 6)
    assert rows.dtype == np.float32
    found, rest = rows[0, : len(objects)], rows[0, len(objects) :]
    np.testing.assert_allclose(found[:, 1], 1, atol=1e-4)
    np.testing.assert_allclose(
        np.delete(found, 1, axis=1), labels_of(objects)[0, : len(objects)], atol=1e-3
    )
    assert (rest[:, 1] < 1e-4).all(), "no object has no score"


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_scores_are_the_probability_of_the_likeliest_class(seed):
    from int8gate.model_zoo.families.detr.decoding import decode

    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 40, (2, QUERIES, CLASSES + 1)).astype(np.float32)
    rows = decode([logits, rng.normal(0, 40, (2, QUERIES, 4)).astype(np.float32)], DECLARED)
    np.testing.assert_array_equal(rows[..., 0], logits[..., :-1].argmax(-1))
    assert np.isfinite(rows).all()
    assert (rows[..., 1] >= 0).all()
    assert (rows[..., 1] <= 1).all()
    assert (rows[..., 2:4] <= rows[..., 4:]).all()
