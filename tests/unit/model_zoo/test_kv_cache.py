"""Prefill and decode with a cache give what the whole network gives of the whole sequence."""

from __future__ import annotations

import pytest

from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model

torch = pytest.importorskip("torch")
PROMPT, LENGTH, LAST = 40, 128, 100  # beyond Mistral's window of 32, twice


@pytest.mark.parametrize("name", ["llama_3_2_3b", "mistral_7b"])
def test_step_by_step_is_the_same_as_at_once(name):
    from int8gate.model_zoo.families.kv_cache import with_cache

    spec = model(name)
    path = weights.find_weights(spec, "compact").path
    networks = []
    for each in (spec, *with_cache(spec, PROMPT)):
        network = torch_networks.build(each, "compact")
        torch_networks.load(network, path)
        networks.append(network)
    whole, prefill, decode = networks
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, 256, (1, LENGTH), generator=generator, dtype=torch.int32)
    with torch.no_grad():
        expected = whole(tokens)[0]
        found, keys, values = prefill(tokens[:, :PROMPT])
        torch.testing.assert_close(found[0], expected[PROMPT - 1], rtol=1e-4, atol=1e-4)
        examples = torch_networks.example(with_cache(spec, PROMPT)[1].compact)
        assert [tuple(each.shape) for each in examples[2:]] == [tuple(keys.shape)] * 2
        for place in range(PROMPT, LAST):
            token, at = tokens[:, place : place + 1], torch.tensor([place], dtype=torch.int32)
            found, keys, values = decode(token, at, keys, values)
            torch.testing.assert_close(found[0], expected[place], rtol=1e-4, atol=1e-4)
