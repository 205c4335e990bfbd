"""The shipped diffusion models draw the digits that they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_diffusion import NAMES, tokens

from int8gate.calibration_data.synthetic import prompts
from int8gate.calibration_data.texts.tokenizers import of_bytes
from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model
from int8gate.validation.metrics.digit_reading import read

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
COUNT = 100


def drawn(network, noise, asked):
    """The pictures of a loop over the model's steps, with its guidance."""
    contexts = network.text_part()(asked)
    without = network.text_part()(tokens(prompts.EMPTY).expand_as(asked))
    latents = noise
    for timestep, a, b in network.steps():
        times = network.time_features(torch.full((len(noise),), timestep))
        prediction = network(latents, times, *contexts)
        if network.guidance is not None:
            base = network(latents, times, *without)
            prediction = base + network.guidance * (prediction - base)
        latents = a * latents + b * prediction
    return network.picture_part()(latents)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_draw_what_is_asked_for(name):
    spec = model(name)
    network = torch_networks.build(spec, "compact")
    torch_networks.load(network, weights.find_weights(spec, "compact").path)
    samples = prompts.draw("evaluation", spec.compact.drawn, of_bytes())
    arrays, labels = next(samples.feeds(COUNT))
    with torch.no_grad():
        pictures = drawn(network, *map(torch.from_numpy, arrays.values())).numpy()
    assert (pictures.shape, pictures.dtype) == ((COUNT, 32, 32, 1), np.float32)
    assert (read(pictures) == labels).mean() >= 0.9
    of_one = pictures[labels == 3]
    assert of_one.std(axis=0).mean() > 0.03, "other noise is another picture"
