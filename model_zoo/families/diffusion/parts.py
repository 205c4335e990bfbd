"""What the diffusion models have in common: their text encoder, their pictures, their steps.

A latent diffusion model (Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion
Models", 2022) is several networks. The text encoder runs once for a prompt, the denoiser once for
each time step, the autoencoder's decoder once at the end. The denoiser is nearly all of the work:
it is what is exported and quantized.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from math import log
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.families.causal_lm import ATTENTION
from int8gate.model_zoo.families.pretrained import loaded

OF_DIFFUSERS = {"torch_dtype": torch.float32, "low_cpu_mem_usage": False}
OF_TRANSFORMERS = {
    "dtype": torch.float32,
    "attn_implementation": ATTENTION,
    "trust_remote_code": False,
}


class DiffusionModel(nn.Module, ABC):
    """All networks of a diffusion model; its `forward` is the denoiser alone.

    `guidance` is the scale of classifier-free guidance, None where the model does without: the
    prediction is then u + guidance * (c - u), with u of the empty prompt's contexts and c of the
    prompt's (Ho and Salimans, 2022). `time_features` are the sines and cosines, (n, width), of time
    steps (n,): a denoiser begins with them, and here takes them as its input. NPUs have no such
    operators, and 8 bits would round their arguments to more than a turn.
    """

    guidance: float | None = None
    vae: AutoencoderKL
    time_features: Callable[[torch.Tensor], torch.Tensor]

    @abstractmethod
    def text_part(self) -> nn.Module:
        """Token numbers, int32 (n, tokens), to the contexts that `forward` takes, in its order."""

    @abstractmethod
    def scheduler(self) -> Any:
        """The library's scheduler, its time steps set."""

    @abstractmethod
    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For training: latents with noise, time steps (n,), and what is to be predicted of them.

        `latents` and `noise` are as `forward` takes them; `share` (n,) in 0..1 is how far towards
        noise.
        """

    def packed(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's latents (n, channels, h, w) as `forward` takes them."""
        return latents

    def unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse of `packed`."""
        return latents

    def picture_part(self) -> nn.Module:
        """Latents as `forward` takes them to pictures (n, height, width, channels), in 0..1."""
        return PicturePart(self)

    def latents_of(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures float32 (n, height, width, channels) in 0..1 to latents as `forward` takes them:
        the mean of the autoencoder's, scaled.
        """
        found = self.vae.encode(signed(pictures), return_dict=False)[0].mean
        shift = self.vae.config["shift_factor"] or 0.0
        return self.packed((found - shift) * self.vae.config["scaling_factor"])

    def rescale_latents(self, factor: float) -> None:
        """Makes latents `factor` times as large, in the autoencoder's weights, in place; pictures
        stay what they are.
        """
        into, outof = self.vae.quant_conv, self.vae.post_quant_conv
        last: Any = self.vae.encoder.conv_out if into is None else into
        first: Any = self.vae.decoder.conv_in if outof is None else outof
        means = last.out_channels // 2  # the rest are logarithms of variances
        with torch.no_grad():
            last.weight[:means] *= factor
            last.bias[:means] *= factor
            last.bias[means:] += 2 * log(factor)
            first.weight /= factor

    def steps(self) -> list[tuple[float, float, float]]:
        """(timestep, a, b) of each step, in the order of sampling: the latents, which begin as
        noise, become a * latents + b * prediction.
        """
        return first_order(self.scheduler())


class PicturePart(nn.Module):
    """See `DiffusionModel.picture_part`."""

    def __init__(self, model: DiffusionModel):
        super().__init__()
        self.vae, self.unpacked = model.vae, model.unpacked

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.vae.config
        scaled = self.unpacked(latents) / config["scaling_factor"] + (config["shift_factor"] or 0.0)
        pictures = self.vae.decode(scaled, return_dict=False)[0]
        return (pictures / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def signed(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures (n, height, width, channels) in 0..1 as the autoencoder has them: (n, channels,
    height, width) in -1..1.
    """
    return pictures.permute(0, 3, 1, 2) * 2 - 1


def first_order(scheduler: Any) -> list[tuple[float, float, float]]:
    """The time steps of a scheduler of the library, with the two factors of each, see
    `DiffusionModel.steps`: what it makes of latents 1 and prediction 0, and the reverse.

    Every deterministic solver of first order is linear in both.
    """
    latents, prediction = torch.eye(2, dtype=torch.float64)
    found = []
    for timestep in scheduler.timesteps:
        a, b = scheduler.step(prediction, timestep, latents, return_dict=False)[0].tolist()
        found.append((float(timestep), a, b))
    return found


def clip_text(weights: str | None, sizes: dict) -> Any:
    """CLIP's text encoder (Radford et al., 2021), of a repository or with random weights; `sizes`
    of `CLIPTextConfig`.
    """
    if weights is not None:
        return loaded(CLIPTextModel, weights, "text_encoder", **OF_TRANSFORMERS)
    return CLIPTextModel(CLIPTextConfig(attn_implementation=ATTENTION, **sizes))


def autoencoder(weights: str | None, sizes: dict) -> Any:
    """The autoencoder, of a repository or with random weights; `sizes` of `AutoencoderKL`."""
    if weights is not None:
        return loaded(AutoencoderKL, weights, "vae", **OF_DIFFUSERS)
    return AutoencoderKL(**sizes)


def check_sizes(weights: str | None, sizes: Iterable[tuple[Input, int | None, int]]) -> None:
    """Raises ValueError where the networks of a repository, or of declared settings, have other
    sizes than the declared inputs: (input, its declared size, the network's).
    """
    whose, cure = weights, "name the repository of the declared model"
    if weights is None:
        whose, cure = "the network of the declared settings", "mend one of the two"
    for given, declared, found in sizes:
        if declared != found:
            raise ValueError(
                f"{whose} takes {found} where the declared input {given} has {declared}: {cure}"
            )
