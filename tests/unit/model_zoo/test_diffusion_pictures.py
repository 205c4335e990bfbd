"""From latents to pictures, exported: in ONNX the same as in PyTorch."""

from __future__ import annotations

import pytest
from tiny_diffusion import NAMES, agrees_as_onnx, built, latents_of

pytest.importorskip("diffusers")


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_part(name):
    network = built(name)
    (picture,), _ = agrees_as_onnx(network.picture_part(), (latents_of(network, 1),))
    assert picture.shape == (1, 8, 8, 1)
    assert 0 <= picture.min() < picture.max() <= 1
