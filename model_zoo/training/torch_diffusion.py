"""Training diffusion models: first the autoencoder, then, on the latents that it makes, the text
encoders together with the denoiser.

Of the trained weights an exponential moving average is kept, as the published models' are (Ho et
al., "Denoising Diffusion Probabilistic Models", 2020): single steps are noisy, and samples show it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from int8gate.calibration_data.synthetic.prompts import EMPTY, encoded, training_pictures
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.model_zoo.training.loop import SEED
from int8gate.model_zoo.training.torch_loop import optimization
from int8gate.model_zoo.training.training_task import SeveralNetworks, Stage
from int8gate.runtimes.torch_program import one_thread

if TYPE_CHECKING:
    import torch

    from int8gate.model_zoo.families.diffusion.parts import DiffusionModel

KL = 1e-3  # what a latent's divergence from a normal one counts, beside a pixel's square error
UNPROMPTED = 0.1  # of the samples, where there is guidance
LARGEST_GRADIENT = 1.0  # norm
AVERAGING = 0.999  # what the moving average keeps at a step
AUTOENCODER = Stage(epochs=4, samples=8192, batch=32, learning_rate=2e-3, final=0.0)
DENOISER = Stage(epochs=24, samples=8192, batch=32, learning_rate=2e-3, final=0.0)


def train(spec: ModelSpec, network: DiffusionModel, epochs: int | None = None) -> int:
    """Trains all networks of the compact `network`, in place, each stage for at most `epochs`;
    returns how many epochs all stages took.

    On one thread: the same weights each time, byte for byte, and on cores that others use many
    times as fast as on several threads that wait for each other at every small operator.
    """
    with one_thread():
        return _train(spec, network, epochs)


def _train(spec: ModelSpec, network: DiffusionModel, epochs: int | None) -> int:
    import torch

    generator = torch.Generator().manual_seed(SEED)
    done = 0
    for name, stage in (("autoencoder", AUTOENCODER), ("denoiser", DENOISER)):
        stage = replace(stage, epochs=min(stage.epochs, epochs or stage.epochs))
        print(f"{spec.name}: {name}, {stage}", flush=True)
        pictures, tokens = map(torch.from_numpy, _draw(spec, stage))
        if name == "autoencoder":
            _fit_autoencoder(network, pictures, stage, generator)
        else:
            without = torch.from_numpy(_tokens(spec, EMPTY))
            latents = _in_batches(network.latents_of, pictures, stage.batch)
            _fit_denoiser(network, latents, tokens, without, stage, generator)
        done += stage.epochs
    return done


def _draw(spec: ModelSpec, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the training split, float32 (samples, h, w, 1) in 0..1, and their prompts'
    tokens, int32 (samples, t).
    """
    side = spec.network("compact").arguments["vae"]["sample_size"]
    pictures, prompts = training_pictures(stage.samples, side, SEED)
    known = {prompt: _tokens(spec, prompt) for prompt in dict.fromkeys(prompts)}
    return pictures, np.stack([known[prompt] for prompt in prompts])


def _tokens(spec: ModelSpec, prompt: str) -> np.ndarray:
    network = spec.network("compact")
    assert network.tokenizer is not None  # of every diffusion model of the zoo
    (length,) = network.drawn[1].shape
    assert length is not None
    return encoded(prompt, resolve(network.tokenizer)(), length)


def _fit_autoencoder(
    network: DiffusionModel, pictures: torch.Tensor, stage: Stage, generator: torch.Generator
) -> None:
    """Reconstruction and a little of the divergence of a variational autoencoder (Kingma and
    Welling, 2014); afterwards latents have unit variance.
    """
    import torch
    from torch.nn.functional import mse_loss

    from int8gate.model_zoo.families.diffusion.parts import signed

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        shown = signed(pictures[rows])
        found = network.vae.encode(shown, return_dict=False)[0]
        noise = torch.randn(found.mean.shape, generator=generator)
        drawn = network.vae.decode(found.mean + found.std * noise, return_dict=False)[0]
        divergence = (found.mean**2 + found.var - 1 - found.logvar).mean() / 2
        return mse_loss(drawn, shown) + KL * divergence

    _fit(network.vae, loss_of, stage, generator)
    spread = float(_in_batches(network.latents_of, pictures, stage.batch).std())
    network.rescale_latents(1 / spread)


def _fit_denoiser(
    network: DiffusionModel,
    latents: torch.Tensor,
    tokens: torch.Tensor,
    without: torch.Tensor,
    stage: Stage,
    generator: torch.Generator,
) -> None:
    """The mean square error of the prediction, at time steps that are spread evenly over a batch;
    with guidance some prompts are replaced by the empty one, `without` (t,).
    """
    import torch
    from torch.nn.functional import mse_loss

    text_part = network.text_part()
    unprompted = UNPROMPTED if network.guidance else 0.0

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        noise = torch.randn(latents[rows].shape, generator=generator)
        place = torch.arange(count) + torch.rand(count, generator=generator)
        noisy, timestep, target = network.noised(latents[rows], noise, place / count)
        is_empty = torch.rand(count, 1, generator=generator) < unprompted
        contexts = text_part(torch.where(is_empty, without, tokens[rows]))
        return mse_loss(network(noisy, network.time_features(timestep), *contexts), target)

    trained = [part for name, part in network.named_children() if name != "vae"]
    _fit(torch.nn.ModuleList(trained), loss_of, stage, generator)


def _fit(
    trained: torch.nn.Module,
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    stage: Stage,
    generator: torch.Generator,
) -> None:
    """Trains one stage on the loss of a batch's rows, and sets the moving average at its end."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    per_epoch = stage.samples // stage.batch
    optimizer, schedule = optimization(trained, stage, stage.epochs * per_epoch)
    averaged = AveragedModel(trained, multi_avg_fn=_average)
    trained.train()
    for epoch in range(1, stage.epochs + 1):
        began, total = time.monotonic(), 0.0
        order = torch.randperm(stage.samples, generator=generator)[: per_epoch * stage.batch]
        for rows in order.reshape(per_epoch, stage.batch):
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(trained)
            total += float(loss.detach())
        print(
            f"epoch {epoch}/{stage.epochs}: loss {total / per_epoch:.4f}, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    trained.load_state_dict(averaged.module.state_dict())
    trained.eval()


def _average(averages: Any, currents: Any, count: torch.Tensor) -> None:
    """A step of the moving average, in place, over few steps at first."""
    weight = 1 - min(AVERAGING, (1 + int(count)) / (10 + int(count)))
    for average, current in zip(averages, currents, strict=True):
        average.lerp_(current, weight)


def _in_batches(
    function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, batch: int
) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return torch.cat([function(part) for part in rows.split(batch)])


DIFFUSION = SeveralNetworks(train)
