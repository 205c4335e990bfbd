"""FLUX: what is exported of it gives in ONNX what it gives in PyTorch."""

from __future__ import annotations

import pytest
from tiny_diffusion import agrees_as_onnx, built, latents_of, tokens

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def network():
    return built("flux_1_schnell")


def test_the_denoiser(network):
    with torch.no_grad():
        contexts = network.text_part()(tokens("seven"))
    latents = latents_of(network, 1)
    (found,), operators = agrees_as_onnx(
        network, (latents, network.time_features(torch.tensor([501.0])), *contexts)
    )
    assert found.shape == latents.shape
    assert operators >= {"MatMul", "Softmax"}, "attention that a quantizer sees"


def test_the_text_part(network):
    contexts, _ = agrees_as_onnx(network.text_part(), (tokens("the digit 3"),))
    assert [context.shape for context in contexts] == [(1, 24, 48), (1, 48)]


def test_the_picture_part(network):
    (picture,), _ = agrees_as_onnx(network.picture_part(), (latents_of(network, 1),))
    assert picture.shape == (1, 8, 8, 1)
    assert 0 <= picture.min() < picture.max() <= 1
