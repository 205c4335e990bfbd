"""Stable Diffusion and FLUX: their steps, their latents, their contexts, their weights."""

from __future__ import annotations

import copy

import pytest
from tiny_diffusion import NAMES, agrees_as_onnx, built, latents_of, tokens

from int8gate.calibration_data.synthetic.prompts import EMPTY
from int8gate.model_zoo import torch_networks, weights
from int8gate.model_zoo.registry import model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return built(request.param)


def test_sampling_by_steps_is_that_of_the_librarys_scheduler(network):
    """With a denoiser of weights that nobody trained."""
    first = latents_of(network)
    contexts = network.text_part()(tokens("seven", "the digit 3"))
    ours, theirs, scheduler = first, first, network.scheduler()
    with torch.no_grad():
        for (timestep, a, b), known in zip(network.steps(), scheduler.timesteps, strict=True):
            assert timestep == float(known)
            times = network.time_features(torch.full((2,), timestep))
            ours = a * ours + b * network(ours, times, *contexts)
            found = network(theirs, times, *contexts)
            theirs = scheduler.step(found, known, theirs, return_dict=False)[0]
    assert not torch.allclose(ours, first, atol=0.1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_features_of_a_time_step_are_what_the_librarys_network_makes_of_it(network):
    plain, latents = copy.deepcopy(network), latents_of(network)
    contexts = network.text_part()(tokens("seven", "the digit 3"))
    timestep = torch.tensor([981.0, 250.0])
    with torch.no_grad():
        found = network(latents, network.time_features(timestep), *contexts)
        if hasattr(plain, "unet"):
            del plain.unet.get_time_embed
            wanted = plain.unet(latents, timestep, *contexts).sample
        else:
            from diffusers.models.embeddings import Timesteps

            plain.transformer.time_text_embed.time_proj = Timesteps(256, True, 0)
            wanted = plain(latents, timestep, *contexts)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_schedules_are_the_published_ones():
    diffusion = built("stable_diffusion_1_5")
    diffusion.number_of_steps = 50
    times = [step[0] for step in diffusion.steps()]
    assert times == list(range(981, 0, -20)), "leading, with an offset of one"
    assert [step[0] for step in built("flux_1_schnell").steps()] == [1000, 750, 500, 250]
    assert [step[1:] for step in built("flux_1_schnell").steps()] == [(1, -0.25)] * 4


def test_latents_are_packed_two_by_two():
    flux = built("flux_1_schnell")
    grid = torch.arange(64.0).reshape(1, 4, 4, 4)
    packed = flux.packed(grid)
    assert packed.shape == (1, 4, 16)
    assert packed[0, 1, :4].tolist() == grid[0, 0, :2, 2:].flatten().tolist()
    assert torch.equal(flux.unpacked(packed), grid)
    assert flux.picture_ids.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


def test_a_rescaled_latent_is_the_same_picture(network):
    pictures = torch.rand(2, 8, 8, 1, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = network.latents_of(pictures)
        shown = network.picture_part()(before)
        network.rescale_latents(3.0)
        after = network.latents_of(pictures)
        torch.testing.assert_close(after, 3 * before, **CLOSE)
        torch.testing.assert_close(network.picture_part()(after), shown, **CLOSE)
        network.rescale_latents(1 / 3)


def test_an_empty_prompt_has_contexts_of_its_own(network):
    with torch.no_grad():
        contexts = network.text_part()(tokens(EMPTY, "seven", "eight"))
    for context in contexts:
        empty, seven, eight = context
        assert (empty - seven).abs().max() > 0.1
        assert (seven - eight).abs().max() > 0.01
    assert (network.guidance is None) == hasattr(network, "transformer")


def test_the_text_part_as_onnx_is_that_of_pytorch(network):
    contexts, _ = agrees_as_onnx(network.text_part(), (tokens("the digit 3"),))
    shapes = [(1, 24, 48), (1, 48)][: 1 + hasattr(network, "transformer")]
    assert [context.shape for context in contexts] == shapes


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("stable_diffusion_1_5", {"unet": 859.5, "text_encoder": 123.1, "vae": 83.7}),
        (
            "flux_1_schnell",
            {"transformer": 11891, "text_encoder": 123.1, "text_encoder_2": 4762, "vae": 83.8},
        ),
    ],
)
def test_the_full_declarations_have_the_published_numbers_of_weights(name, millions):
    with torch.device("meta"):
        full = torch_networks.build(model(name), "full")
    found = {
        part: sum(weight.numel() for weight in module.parameters()) / 1e6
        for part, module in full.named_children()
    }
    assert found == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_the_compact_networks(name):
    spec = model(name)
    path = weights.find_weights(spec, "compact").path
    facts = weights.read_manifest()[name]
    assert path.stat().st_size == facts["bytes"] <= 4e6
    trained = torch_networks.build(spec, "compact")
    torch_networks.load(trained, path)
    prompt = tokens("seven")
    with torch.no_grad():
        assert all(each.abs().max() > 0.1 for each in trained.text_part()(prompt))
