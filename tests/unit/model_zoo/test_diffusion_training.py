"""Training diffusion models: a short one of each lowers both losses, and the same way each time."""

from __future__ import annotations

import pytest
from tiny_diffusion import NAMES, latents_of, small, tokens

from int8gate.calibration_data.synthetic.prompts import training_pictures
from int8gate.model_zoo.training import torch_diffusion, torch_loop
from int8gate.model_zoo.training.training_task import Stage
from int8gate.quantizers.training import training_samples

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
SHORT = Stage(epochs=3, samples=128, batch=32, learning_rate=4e-3, final=0.0)


@pytest.fixture
def short(monkeypatch):
    """Short stages, in a process that computes on two threads."""
    monkeypatch.setattr(torch_diffusion, "AUTOENCODER", SHORT)
    monkeypatch.setattr(torch_diffusion, "DENOISER", SHORT)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "training sets its own number, and sets it back"
    torch.set_num_threads(threads)


def errors_of(network) -> tuple[float, float]:
    """Mean square errors of reconstructions and of predictions, of the same pictures and noise."""
    pictures = torch.from_numpy(training_pictures(32, 8, 5)[0])
    with torch.no_grad():
        latents = network.latents_of(pictures)
        reconstruction = (network.picture_part()(latents) - pictures).square().mean()
        share = (torch.arange(32) + 0.5) / 32
        noisy, timestep, target = network.noised(latents, latents_of(network, 32), share)
        contexts = network.text_part()(tokens("seven").expand(32, -1))
        prediction = (
            (network(noisy, network.time_features(timestep), *contexts) - target).square().mean()
        )
    return float(reconstruction), float(prediction)


@pytest.mark.parametrize("name", [pytest.param(NAMES[0], marks=pytest.mark.heavy), *NAMES[1:]])
def test_a_short_training_lowers_both_losses_the_same_way_twice(short, name, capsys):
    trained = torch_loop.train(small(name))
    assert trained.epochs == 2 * SHORT.epochs
    assert "denoiser" in capsys.readouterr().out
    untrained = torch_loop.train(small(name), epochs=1)
    assert untrained.epochs == 2
    for after, before in zip(errors_of(trained.model), errors_of(untrained.model), strict=True):
        assert after < 0.9 * before
    again = torch_loop.train(small(name))
    found = again.model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in trained.model.state_dict().items())
    with torch.no_grad():
        latents = trained.model.latents_of(torch.from_numpy(training_pictures(128, 8, 1)[0]))
    assert float(latents.std()) == pytest.approx(1, abs=0.1)


def test_the_denoiser_alone_is_not_trained_for_a_recipe():
    refusal = training_samples.refusal(small(NAMES[0]), "compact")
    assert refusal.startswith(f"{NAMES[0]} is trained as several networks")
    assert "choose a recipe without training" in refusal
