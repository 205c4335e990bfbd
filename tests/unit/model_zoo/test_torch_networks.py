"""Networks of PyTorch: how a declaration is built, stored, loaded; what DeepLabV3+ consists of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import UNIT
from int8gate.model_zoo import torch_networks
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.weights import store

BUILDER = "int8gate.model_zoo.families.hf_resnet:resnet"
SMALL = {"depths": (1, 1, 1, 1), "embedding": 8, "widths": (8, 16, 16, 16)}


def declared(**changes) -> ModelSpec:
    network = Network(BUILDER, (32, 64, 3), (32, 64), classes=5, arguments=SMALL)
    return ModelSpec(
        name="small",
        task="classification",
        source_format="pytorch",
        preprocessing=UNIT,
        compact=replace(network, **changes),
        full=network,
        paper="none",
    )


def logits(model, network: Network, seed: int = 0) -> np.ndarray:
    import torch

    noise = torch.rand(
        torch_networks.example(network)[0].shape, generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        return model(noise).numpy()


def test_a_declaration_is_built_for_its_size_and_classes():
    spec = declared()
    model = torch_networks.build(spec, "compact")
    assert not model.training
    assert torch_networks.example(spec.compact)[0].shape == (1, 3, 32, 64)
    assert logits(model, spec.compact).shape == (1, 5)


def test_stored_weights_come_back(tmp_path):
    spec = declared()
    one, other = (torch_networks.build(spec, "compact") for _ in range(2))
    assert not np.array_equal(logits(one, spec.compact), logits(other, spec.compact))
    torch_networks.load(other, store(torch_networks.tensors_of(one), "small", {}, tmp_path))
    np.testing.assert_array_equal(logits(one, spec.compact), logits(other, spec.compact))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tensors: tensors.pop("classifier.1.bias"), "the file lacks it"),
        (lambda tensors: tensors.update(extra=np.zeros(1)), "the network has no such tensor"),
        (
            lambda tensors: tensors.update({"classifier.1.bias": np.zeros(6, np.float32)}),
            r"shape \(6,\), .* needs \(5,\)",
        ),
        (
            lambda tensors: tensors.update({"classifier.1.bias": np.zeros(5, np.int8)}),
            "int8, expected float32: bring the weights from before quantization",
        ),
        (
            lambda tensors: tensors.update({"classifier.1.bias": np.full(5, np.nan, np.float32)}),
            "NaN or infinity",
        ),
    ],
    ids=["missing", "surplus", "shape", "quantized", "not finite"],
)
def test_weights_that_do_not_fit_are_refused_by_name(damage, words, tmp_path):
    model = torch_networks.build(declared(), "compact")
    tensors = torch_networks.tensors_of(model)
    damage(tensors)
    with pytest.raises(ValueError, match=words) as refusal:
        torch_networks.load(model, store(tensors, "small", {}, tmp_path))
    assert "classifier.1.bias" in str(refusal.value) or "extra" in str(refusal.value)
    assert str(tmp_path / "small.safetensors") in str(refusal.value)


def test_unfetched_official_weights_are_refused_with_the_way_out(tmp_path):
    spec = declared(official=str(tmp_path / "absent"))
    with pytest.raises(RuntimeError, match=r"small: the official weights .*--weights-dir DIR"):
        torch_networks.build(spec, "compact", official=True)


def test_settling_gives_every_normalization_the_statistics_of_its_inputs():
    import torch

    spec = declared(input_shape=(128, 128, 3), size=(128, 128))
    model = torch_networks.build(spec, "compact")
    torch_networks.settle_normalization(model, spec, "compact", seed=3)
    assert not model.training
    seen = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(lambda _, __, output: seen.append(float(output.std())))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model(torch.rand((2, 3, 128, 128), generator=generator))
    assert len(seen) > 10
    np.testing.assert_allclose(seen, 1, atol=0.1)


@given(side=st.integers(16, 2048))
def test_atrous_rates_keep_proportion_and_order(side):
    from int8gate.model_zoo.families.deeplabv3plus import RATED_SIDE, RATES, atrous_rates

    rates = atrous_rates(side)
    assert len(rates) == len(RATES)
    assert all(wider > narrower for narrower, wider in zip((0, *rates), rates, strict=False))
    if side >= RATED_SIDE:
        assert rates == RATES
    elif side >= RATED_SIDE // 3:
        wanted = np.array(RATES) * side / RATED_SIDE
        np.testing.assert_allclose(rates, wanted, atol=0.5)


def small_segmenter(size: tuple[int, int], classes: int = 3):
    from int8gate.model_zoo.families.deeplabv3plus import deeplabv3plus

    return deeplabv3plus((*size, 3), classes, backbone_width=0.1, width=8).eval()


def without_dead_ends(model):
    """Every weight positive, so that no ReLU hides what a place is connected to."""
    for parameter in model.parameters():
        parameter.data.abs_()
    return model


@settings(max_examples=4, deadline=None)
@given(
    size=st.tuples(st.integers(33, 130), st.integers(33, 130)),
    classes=st.integers(2, 5),
)
def test_segmentation_logits_have_the_size_of_the_picture(size, classes):
    import torch

    with torch.no_grad():
        found = small_segmenter(size, classes)(torch.rand(1, 3, *size))
    assert found.shape == (1, *size, classes)


@settings(max_examples=20, deadline=None)
@given(
    small=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    factor=st.integers(1, 9),
    more=st.integers(0, 3),
)
def test_upsampling_keeps_slopes_away_from_the_border(small, factor, more):
    """Bilinear, whatever the steps: a plane stays one, and no value leaves the range."""
    import torch

    from int8gate.model_zoo.families.deeplabv3plus import upsample

    rows, columns = small
    plane = torch.arange(rows)[:, None] + 10.0 * torch.arange(columns)[None]
    size = (rows * factor + more, columns * factor + more)
    found = upsample(plane[None, None], size)[0, 0]
    places = [
        (torch.arange(large) + 0.5) * side / large - 0.5
        for side, large in zip(small, size, strict=True)
    ]
    wanted = places[0][:, None] + 10 * places[1][None]
    inner = [(place >= 1) & (place <= side - 2) for place, side in zip(places, small, strict=True)]
    is_inner = inner[0][:, None] & inner[1][None]
    torch.testing.assert_close(found[is_inner], wanted[is_inner], atol=1e-3, rtol=0)
    assert plane.min() - 1e-3 <= found.min()
    assert found.max() <= plane.max() + 1e-3


def test_the_decoder_reads_the_low_level_features():
    """Without the pyramid's maps, logits still follow the picture."""
    import torch

    model = without_dead_ends(small_segmenter((64, 64)))
    model.pyramid.projection.register_forward_hook(lambda _, __, maps: maps * 0)
    with torch.no_grad():
        one, other = (model(torch.rand(1, 3, 64, 64)) for _ in range(2))
    assert (one - other).abs().max() > 1e-6


def test_each_rate_of_the_pyramid_widens_what_a_place_sees():
    import torch

    from int8gate.model_zoo.families.deeplabv3plus import AtrousPyramid

    pyramid = without_dead_ends(AtrousPyramid(2, 4, (31, 31), (3, 6, 9)).eval())
    reach = []
    for branch in pyramid.branches:
        maps = torch.rand(1, 2, 31, 31, requires_grad=True)
        branch(maps)[..., 15, 15].sum().backward()
        seen = maps.grad.abs().sum(dim=(0, 1)).nonzero()
        reach.append(int((seen - 15).abs().max()))
    assert reach == [0, 3, 6, 9]
