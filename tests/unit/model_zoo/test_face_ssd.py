"""The face detector: the network's rows, its losses, the file its users have, decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.boxes import iou
from int8gate.model_zoo.families.face_ssd.decoding import MOST_DETECTIONS, OVERLAP, decode
from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.spec import Network

SIZE = (64, 96)
ALPHA = 0.05
DECLARED = Network("int8gate.model_zoo.families.face_ssd.network:face_ssd", (*SIZE, 3), SIZE, 1)
ANCHORS = ssd_anchors.anchors(SIZE)
part = st.floats(0.02, 0.48)
box = st.builds(lambda y, x, h, w: [y, x, y + h, x + w], part, part, part, part)


def tiny(classes: int = 1):
    from int8gate.model_zoo.families.face_ssd.network import face_ssd

    torch.manual_seed(4)
    return face_ssd((*SIZE, 3), classes, ALPHA).eval()


def spec():
    from int8gate.model_zoo.detection import MODELS

    return next(of for of in MODELS if of.data == "faces")


def outputs_of(found: list) -> list[np.ndarray]:
    """Network outputs that see `found`, triples of anchor, score and box, and nothing else."""
    codes = np.zeros((1, len(ANCHORS), 4), np.float32)
    logits = np.full((1, len(ANCHORS), 2), -30, np.float32)
    for anchor, score, bounds in found:
        codes[0, anchor] = ssd_anchors.encode(np.array(bounds), ANCHORS[anchor])
        logits[0, anchor, 1] = np.log(score / (1 - score))
    return [codes, logits]


@pytest.mark.parametrize("classes", [1, 4])
def test_a_row_for_every_anchor(classes):
    boxes, logits = tiny(classes)(torch.zeros(2, 3, *SIZE))
    assert boxes.shape == (2, len(ANCHORS), 4)
    assert logits.shape == (2, len(ANCHORS), classes + 1)


def test_a_row_for_every_anchor_at_the_native_size():
    from int8gate.model_zoo.families.face_ssd.network import face_ssd

    boxes, _ = face_ssd((300, 300, 3), 1, ALPHA).eval()(torch.zeros(1, 3, 300, 300))
    assert boxes.shape == (1, 1917, 4)


def test_rows_come_in_the_order_of_the_anchors():
    """Box predictors that know only their level and which shape they answer for."""
    network = tiny()
    for level, predictor in enumerate(network.boxes):
        count = len(ssd_anchors.shapes(level))
        names = torch.arange(count)[:, None] + torch.tensor([0, 0, 100 * level, 0])[None]
        predictor.weight.data.zero_()
        predictor.bias.data = names.float().flatten()
    rows = network(torch.zeros(1, 3, *SIZE))[0][0].detach().numpy().astype(int)
    extent = ANCHORS[:, 2:] - ANCHORS[:, :2]
    for row, found in zip(rows, extent, strict=True):
        scale, ratio = ssd_anchors.shapes((row[2] - row[0]) // 100)[row[0]]
        np.testing.assert_allclose(found, [scale / ratio**0.5, scale * ratio**0.5], rtol=1e-4)


def test_rows_of_a_level_go_row_by_row_over_the_picture():
    """A predictor of the first level shows where its map is bright."""
    network = tiny()
    maps = [torch.zeros(1, p.weight.shape[1], 4, 6) for p in network.boxes[:1]]
    maps[0][0, :, 1, 2] = 1
    from int8gate.model_zoo.families.face_ssd.network import _rows

    network.boxes[0].weight.data.fill_(1)
    network.boxes[0].bias.data.zero_()
    bright = _rows(network.boxes[:1], maps, 4)[0, :, 0].nonzero().flatten().numpy()
    centres = (ANCHORS[bright, :2] + ANCHORS[bright, 2:]) / 2
    assert len(bright) == len(ssd_anchors.shapes(0))
    np.testing.assert_allclose(centres, [[1.5 / 4, 2.5 / 6]] * len(bright), rtol=1e-5)


def test_losses_vanish_at_the_targets_and_nowhere_near():
    from int8gate.model_zoo.families.face_ssd.training import loss, targets

    label = np.array([[[0, 0.2, 0.3, 0.5, 0.5], [-1] * 5, [-1] * 5]], np.float32)
    wanted = tuple(map(torch.from_numpy, targets(spec(), label)))
    boxes, classes = wanted
    assert boxes[..., 4].sum() >= 1
    codes = torch.where(boxes[..., 4:] == 1, boxes[..., :4], 1000.0)  # background has no box
    logits = 40 * torch.nn.functional.one_hot(classes, 2) - 20.0
    of = loss(spec())
    assert of((codes, logits), wanted) < 1e-6
    assert of((codes + 0.5, logits), wanted) > 0.1
    assert of((codes, -logits), wanted) > 1


def test_a_scene_without_faces_still_has_a_loss():
    from int8gate.model_zoo.families.face_ssd.training import loss, targets

    wanted = tuple(map(torch.from_numpy, targets(spec(), np.full((1, 3, 5), -1, np.float32))))
    shape = wanted[1].shape
    found = loss(spec())((torch.zeros(*shape, 4), torch.zeros(*shape, 2)), wanted)
    assert torch.isfinite(found)
    assert found > 0


def test_the_file_is_one_that_needs_repair(tmp_path):
    """What the placeholder says is not what the graph takes; run at its size, it is the network."""
    import onnx
    import onnxruntime

    from int8gate.model_zoo.families.face_ssd.network import INPUT, OUTPUTS, onnx_source

    network = tiny()
    path = onnx_source(network, DECLARED, tmp_path)
    model = onnx.load(path)
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    assert {initializer.name for initializer in model.graph.initializer} < inputs.keys()
    assert [bool(side.dim_param) for side in inputs[INPUT]] == [True, False, True, True]
    assert model.opset_import[0].version < 10
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shown = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = session.run(list(OUTPUTS), {INPUT: shown.numpy()})
    for ours, theirs in zip(found, network(shown), strict=True):
        np.testing.assert_allclose(ours, theirs.detach(), atol=1e-5)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="Reshape"):
        session.run(None, {INPUT: np.zeros((1, 3, 32, 32), np.float32)})


def test_equal_networks_give_equal_files(tmp_path):
    from int8gate.model_zoo.families.face_ssd.network import onnx_source

    (tmp_path / "again").mkdir()
    once = onnx_source(tiny(), DECLARED, tmp_path).read_bytes()
    assert onnx_source(tiny(), DECLARED, tmp_path / "again").read_bytes() == once


@given(st.lists(box, min_size=1, max_size=6), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_decoding_keeps_the_best_of_what_overlaps(boxes, seed):
    """Against suppression as Liu et al. describe it, one box after another."""
    rng = np.random.default_rng(seed)
    anchors = rng.choice(len(ANCHORS), len(boxes), replace=False)
    scores = rng.permutation(np.linspace(0.1, 0.9, len(boxes)))
    rows = decode(outputs_of(list(zip(anchors, scores, boxes, strict=True))), DECLARED)
    assert rows.shape == (1, MOST_DETECTIONS, 6)
    assert rows.dtype == np.float32
    kept: list[int] = []
    for number in np.argsort(-scores):
        one = np.array([boxes[number]])
        others = np.array([boxes[other] for other in kept]).reshape(-1, 4)
        overlap = iou(one, others).max(initial=0)
        if abs(overlap - OVERLAP) < 1e-3:
            return  # too close to call after rounding
        if overlap <= OVERLAP:
            kept.append(number)
    found = rows[0, : len(kept)]
    np.testing.assert_allclose(found[:, 1], scores[kept], atol=1e-4)
    np.testing.assert_allclose(found[:, 2:], np.array(boxes)[kept], atol=1e-3)
    assert (found[:, 0] == 0).all()
    assert (rows[0, len(kept) :, 1] == -1).all()


def test_where_nothing_is_found_all_rows_are_padding():
    assert (decode(outputs_of([]), DECLARED) == -1).all()
