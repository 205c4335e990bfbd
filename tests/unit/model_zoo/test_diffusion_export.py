"""The denoisers of the diffusion models, exported: in ONNX they give what they give in PyTorch."""

from __future__ import annotations

import pytest
from tiny_diffusion import NAMES, agrees_as_onnx, built, latents_of, tokens

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


@pytest.mark.parametrize("name", [pytest.param(NAMES[0], marks=pytest.mark.heavy), *NAMES[1:]])
def test_the_denoiser(name):
    network = built(name)
    with torch.no_grad():
        contexts = network.text_part()(tokens("seven"))
    latents = latents_of(network, 1)
    (found,), operators = agrees_as_onnx(
        network, (latents, network.time_features(torch.tensor([501.0])), *contexts)
    )
    assert found.shape == latents.shape
    assert operators >= {"MatMul", "Softmax"}, "attention that a quantizer sees"
