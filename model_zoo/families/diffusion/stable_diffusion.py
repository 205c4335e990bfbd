"""Stable Diffusion 1.x (Rombach et al., 2022): a U-Net with cross-attention to CLIP's tokens, which
predicts the noise in latents.

Sampling is DDIM (Song et al., 2021) without noise of its own, on the noise schedule of the
published model.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.families.diffusion.parts import (
    OF_DIFFUSERS,
    DiffusionModel,
    autoencoder,
    check_sizes,
    clip_text,
)
from int8gate.model_zoo.families.pretrained import loaded

NOISE_STEPS = 1000
SCHEDULE = {  # of the published scheduler_config.json
    "num_train_timesteps": NOISE_STEPS,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


class StableDiffusion(DiffusionModel):
    """Latents (n, 4, h, w), features of time steps of 0..999 (n, width) and a context (n, tokens,
    width) to the noise in the latents, (n, 4, h, w), all float32.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: nn.Module,
        vae: Any,
        steps: int,
        guidance: float,
    ):
        super().__init__()
        self.unet, self.text_encoder, self.vae = unet, text_encoder, vae
        self.number_of_steps, self.guidance = steps, guidance
        self.time_features = unet.time_proj.forward
        own: Any = unet
        own.get_time_embed = _as_given

    def forward(
        self, latents: torch.Tensor, time: torch.Tensor, context: torch.Tensor
    ) -> torch.Tensor:
        return self.unet(latents, time, context, return_dict=False)[0]

    def text_part(self) -> nn.Module:
        """Token numbers int32 (n, tokens) to a tuple of the context, float32 (n, tokens, width)."""
        return HiddenStates(self.text_encoder)

    def scheduler(self) -> DDIMScheduler:
        scheduler = DDIMScheduler(**SCHEDULE)
        scheduler.set_timesteps(self.number_of_steps)
        return scheduler

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        timestep = (share * NOISE_STEPS).long().clamp(max=NOISE_STEPS - 1)
        noisy: Any = DDIMScheduler(**SCHEDULE).add_noise
        return noisy(latents, noise, timestep), timestep.float(), noise


def _as_given(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """In place of the U-Net's own function: features, which the caller has."""
    return timestep


class HiddenStates(nn.Module):
    """The last hidden state of a text encoder, in a tuple."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.encoder(input_ids=tokens).last_hidden_state,)


def stable_diffusion(
    inputs: tuple[Input, ...],
    classes: int | None = None,
    weights: str | None = None,
    *,
    unet: dict,
    text: dict,
    vae: dict,
    steps: int,
    guidance: float,
) -> StableDiffusion:
    """Stable Diffusion for declared inputs of latents, time step and context.

    `unet`, `text` and `vae` are settings of `UNet2DConditionModel`, `CLIPTextConfig` and
    `AutoencoderKL` that the inputs do not say; `steps` is how many a picture takes. No part of the
    network depends on `classes`, what its pictures are told apart by. `weights` names a Hugging
    Face repository, or its folder, whose own configurations then count. Raises OSError where it
    cannot be fetched, ValueError where its files or its sizes do not fit.
    """
    latents, time, context = inputs
    (channels, side, _), (tokens, width) = latents.shape, context.shape
    if weights is not None:
        network = loaded(UNet2DConditionModel, weights, "unet", **OF_DIFFUSERS)
    else:
        network = UNet2DConditionModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            cross_attention_dim=width,
            **unet,
        )
    encoder = clip_text(weights, {"hidden_size": width, "max_position_embeddings": tokens} | text)
    check_sizes(
        weights,
        [
            (latents, channels, network.config["in_channels"]),
            (time, time.shape[0], network.time_proj.num_channels),
            (context, width, network.config["cross_attention_dim"]),
            (context, width, encoder.config.hidden_size),
            (context, tokens, encoder.config.max_position_embeddings),
        ],
    )
    decoder = autoencoder(weights, vae)
    return StableDiffusion(network, encoder, decoder, steps, guidance)
