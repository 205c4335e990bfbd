"""Classifiers of Hugging Face: sizes, normalization, weights, and their training's targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

RESNET = {"depths": (1, 1, 1, 1), "embedding": 8, "widths": (8, 16, 16, 16)}
TRANSFORMER = {"patch": 8, "layers": 2, "heads": 2, "hidden": 16}


def resnet(side: int = 64, weights: str | None = None):
    from int8gate.model_zoo.families.hf_resnet import resnet

    return resnet((side, side, 3), 5, weights=weights, **RESNET).eval()


def transformer(side: int = 32, weights: str | None = None):
    from int8gate.model_zoo.families.hf_vit import vit

    return vit((side, side, 3), 5, weights=weights, **TRANSFORMER).eval()


def library_network(model):
    """The library's own network of the same weights."""
    import transformers

    inner = model.resnet if hasattr(model, "resnet") else model.vit
    name = {"resnet": "ResNet", "vit": "ViT"}[inner.config.model_type]
    network = getattr(transformers, f"{name}ForImageClassification")(inner.config).eval()
    network.load_state_dict(model.state_dict())
    return network


@pytest.mark.parametrize("build", [resnet, transformer], ids=["convolutions", "attention"])
def test_a_checkpoint_in_the_library_s_format_gives_the_library_s_logits(build, tmp_path):
    """Pixels stand for what the library's image processor makes of them."""
    import torch

    network = library_network(build())
    network.save_pretrained(tmp_path)
    model = build(weights=str(tmp_path)).eval()
    side = 64 if build is resnet else 32
    pixels = torch.randint(0, 256, (2, 3, side, side)).float()
    if build is resnet:
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        given, processed = pixels, (pixels / 255 - mean) / std
    else:
        given = processed = (pixels - 127.5) / 127.5
    with torch.no_grad():
        np.testing.assert_allclose(model(given), network(processed).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("build", [resnet, transformer], ids=["convolutions", "attention"])
def test_random_weights_touch_no_network(build, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert build().classifier is not None


@pytest.mark.parametrize(
    ("module", "builder", "parameters"),
    [("hf_resnet", "resnet", 25_557_032), ("hf_vit", "vit", 86_567_656)],
    ids=["convolutions", "attention"],
)
def test_full_networks_have_the_parameters_of_the_published_ones(module, builder, parameters):
    """25.6 M and 86.6 M at 224 x 224 and 1,000 classes."""
    import importlib

    import torch

    with torch.device("meta"):
        build = getattr(importlib.import_module(f"int8gate.model_zoo.families.{module}"), builder)
        model = build((224, 224, 3), 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_attention_is_exported_without_a_mask():
    """A mask is chosen from the least float: no range of eight bits holds that beside a score."""
    import torch

    program = torch.export.export(transformer(), (torch.rand(1, 3, 32, 32),))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("softmax" in name for name in called)
    assert not any("where" in name or "arange" in name for name in called)


def positions(model) -> str:
    return next(name for name in model.state_dict() if name.endswith("position_embeddings"))


@settings(max_examples=10, deadline=None)
@given(small=st.sampled_from([16, 24, 32]), large=st.sampled_from([32, 40, 48]))
def test_carried_over_positions_keep_flat_maps_and_the_class_token(small, large):
    import torch

    trained, grown = transformer(small), transformer(large)
    state = trained.state_dict()
    name = positions(trained)
    flat = torch.rand(1, 1, state[name].shape[-1])
    state[name] = torch.cat([state[name][:, :1], flat.expand(-1, state[name].shape[1] - 1, -1)], 1)
    carried = grown.carry_over(state)
    grown.load_state_dict(carried)
    assert carried[name].shape[1] == 1 + (large // 8) ** 2
    torch.testing.assert_close(carried[name][:, :1], state[name][:, :1])
    torch.testing.assert_close(carried[name][:, 1:], flat.expand(-1, (large // 8) ** 2, -1))


def test_the_same_size_carries_over_as_it_is():
    import torch

    one, other = transformer(), transformer()
    other.load_state_dict(other.carry_over(one.state_dict()))
    pixels = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(one(pixels), other(pixels))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    classes=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_loss_is_the_mean_cross_entropy_over_samples_and_places(shape, classes, seed):
    import torch

    from int8gate.model_zoo.registry import model
    from int8gate.model_zoo.training.torch_digits import CLASSIFICATION

    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*shape, classes)).astype(np.float32)
    labels = rng.integers(0, classes, shape).astype(np.uint8)
    chosen = np.take_along_axis(logits, labels[..., None].astype(int), axis=-1)[..., 0]
    wanted = np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen)
    spec = model("mobilenet_v1")
    targets = torch.from_numpy(CLASSIFICATION.encode(spec, labels))
    found = CLASSIFICATION.loss(spec)(torch.from_numpy(logits), targets)
    assert float(found) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("task", ["CLASSIFICATION", "TRANSFORMER", "SEGMENTATION"])
def test_scenes_of_training_have_targets_of_their_size(task):
    from dataclasses import replace

    from int8gate.model_zoo.registry import model
    from int8gate.model_zoo.training import torch_digits

    training = getattr(torch_digits, task)
    spec = model("unet" if task == "SEGMENTATION" else "mobilenet_v1")
    size = (40, 48)
    spec = replace(spec, compact=replace(spec.compact, size=size, input_shape=(*size, 3)))
    stage = replace(training.stages[0], samples=6)
    images, labels = training.draw(spec, "train", stage)
    targets = training.encode(spec, labels)
    assert images.shape == (6, *size, 3)
    assert images.dtype == np.uint8
    assert targets.shape == ((6, *size) if task == "SEGMENTATION" else (6,))
    assert targets.dtype == np.int64
