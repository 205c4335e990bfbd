"""FLUX.1 (Black Forest Labs, 2024): a transformer over the tokens of a prompt and the places of a
picture, which predicts the velocity from picture to noise (rectified flow, Liu et al., 2022; Esser
et al., "Scaling Rectified Flow Transformers", 2024).

Two by two neighbouring latents are one place of the picture. T5 gives the prompt's tokens, CLIP one
vector of all of it. FLUX.1 [schnell] takes few steps and no guidance.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.families.causal_lm import ATTENTION
from int8gate.model_zoo.families.diffusion.parts import (
    OF_DIFFUSERS,
    OF_TRANSFORMERS,
    DiffusionModel,
    autoencoder,
    check_sizes,
    clip_text,
)
from int8gate.model_zoo.families.pretrained import loaded

NOISE_STEPS = 1000  # a time step is this times the share of noise
PATCH = 2  # latents each way that are one place
AXES = 3  # of a place: one that is unused, row, column


class Flux(DiffusionModel):
    """Packed latents (n, places, channels), features of time steps of 0..1000 (n, width), a context
    of T5's (n, tokens, width) and CLIP's pooled output (n, width) to the velocity, (n, places,
    channels), all float32. A row of places is `side` of them.
    """

    text_ids: torch.Tensor
    picture_ids: torch.Tensor

    def __init__(
        self,
        transformer: Any,
        text_encoder: nn.Module,
        text_encoder_2: nn.Module,
        vae: Any,
        tokens: int,
        side: int,
        steps: int,
    ):
        super().__init__()
        self.transformer, self.vae = transformer, vae
        self.text_encoder, self.text_encoder_2 = text_encoder, text_encoder_2
        self.side, self.number_of_steps = side, steps
        self.register_buffer("text_ids", torch.zeros(tokens, AXES), persistent=False)
        self.register_buffer("picture_ids", places(side), persistent=False)
        ids = torch.cat([self.text_ids, self.picture_ids])
        transformer.pos_embed = Rotation(*transformer.pos_embed(ids))
        embedding: Any = transformer.time_text_embed
        self.time_features = embedding.time_proj.forward
        embedding.time_proj = nn.Identity()

    def forward(
        self,
        latents: torch.Tensor,
        time: torch.Tensor,
        context: torch.Tensor,
        pooled: torch.Tensor,
    ) -> torch.Tensor:
        return self.transformer(
            hidden_states=latents,
            timestep=time / NOISE_STEPS,  # by which the network multiplies it
            encoder_hidden_states=context,
            pooled_projections=pooled,
            txt_ids=self.text_ids,
            img_ids=self.picture_ids,
            guidance=None,
            return_dict=False,
        )[0]

    def text_part(self) -> nn.Module:
        """See `TwoEncoders`."""
        return TwoEncoders(self.text_encoder, self.text_encoder_2)

    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=NOISE_STEPS, shift=1.0)
        sigmas = np.linspace(1, 1 / self.number_of_steps, self.number_of_steps)
        scheduler.set_timesteps(sigmas=sigmas.tolist())
        return scheduler

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mixed = torch.lerp(latents, noise, share[:, None, None])
        return mixed, share * NOISE_STEPS, noise - latents

    def packed(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, channels, h, w) to (n, places, channels of a place)."""
        count, channels, height, width = latents.shape
        rows, columns = height // PATCH, width // PATCH
        apart = latents.reshape(count, channels, rows, PATCH, columns, PATCH)
        return apart.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, channels * PATCH**2)

    def unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        count, side = len(latents), self.side
        apart = latents.reshape(count, side, side, -1, PATCH, PATCH)
        return apart.permute(0, 3, 1, 4, 2, 5).reshape(count, -1, side * PATCH, side * PATCH)


class Rotation(nn.Module):
    """The rotary embedding of fixed places: the library's own works in float64 at every call."""

    cosine: torch.Tensor
    sine: torch.Tensor

    def __init__(self, cosine: torch.Tensor, sine: torch.Tensor):
        super().__init__()
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cosine, self.sine


class TwoEncoders(nn.Module):
    """Token numbers of CLIP and of T5, int32 (n, tokens) each, to T5's last hidden state (n,
    tokens, width) and CLIP's pooled output (n, width), float32. Both read the first where there is
    no second.
    """

    def __init__(self, clip: nn.Module, t5: nn.Module):
        super().__init__()
        self.clip, self.t5 = clip, t5

    def forward(
        self, tokens: torch.Tensor, tokens_2: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context = self.t5(input_ids=tokens if tokens_2 is None else tokens_2).last_hidden_state
        return context, self.clip(input_ids=tokens).pooler_output


def places(side: int) -> torch.Tensor:
    """The axes of each place, row by row, float32 (side * side, 3)."""
    index = torch.arange(side * side)
    return torch.stack([torch.zeros_like(index), index // side, index % side], dim=1).float()


def flux(
    inputs: tuple[Input, ...],
    classes: int | None = None,
    weights: str | None = None,
    *,
    transformer: dict,
    text: dict,
    text_2: dict,
    vae: dict,
    steps: int,
) -> Flux:
    """FLUX for declared inputs of packed latents, time step, context and pooled context; the
    pictures are square.

    `transformer`, `text`, `text_2` and `vae` are settings of `FluxTransformer2DModel`,
    `CLIPTextConfig`, `T5Config` and `AutoencoderKL` that the inputs do not say; `steps` is how many
    a picture takes. `classes` and `weights` are as in `stable_diffusion`.
    """
    latents, time, context, pooled = inputs
    (count, channels), (tokens, width), (pooled_width,) = latents.shape, context.shape, pooled.shape
    if weights is not None:
        network = loaded(FluxTransformer2DModel, weights, "transformer", **OF_DIFFUSERS)
        t5 = loaded(T5EncoderModel, weights, "text_encoder_2", **OF_TRANSFORMERS)
    else:
        network = FluxTransformer2DModel(
            in_channels=channels,
            joint_attention_dim=width,
            pooled_projection_dim=pooled_width,
            **transformer,
        )
        t5 = T5EncoderModel(T5Config(d_model=width, attn_implementation=ATTENTION, **text_2))
    clip = clip_text(weights, {"hidden_size": pooled_width} | text)
    embedding: Any = network.time_text_embed
    check_sizes(
        weights,
        [
            (latents, channels, network.config["in_channels"]),
            (time, time.shape[0], embedding.time_proj.num_channels),
            (context, width, network.config["joint_attention_dim"]),
            (context, width, t5.config.d_model),
            (pooled, pooled_width, network.config["pooled_projection_dim"]),
            (pooled, pooled_width, clip.config.hidden_size),
        ],
    )
    side = isqrt(count)
    if side * side != count:
        raise ValueError(f"the input {latents} has {count} places, expected those of a square")
    return Flux(network, clip, t5, autoencoder(weights, vae), tokens, side, steps)
