"""Vision Transformer of Hugging Face transformers (Dosovitskiy et al., "An Image Is Worth 16x16
Words", 2020): patches, a class token, pre-norm encoder layers, a linear layer on the class token.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

ATTENTION = "eager"  # plain matrix products and softmax, which every exporter and quantizer knows
# The library's initial weights keep activations in order at the width of ViT-Base alone.
STANDARD_DEVIATION, BASE_WIDTH = 0.02, 768


class VisionTransformer(nn.Module):
    """Float32 (n, 3, h, w) to logits (n, classes).

    Its tensors have the names that they have in the library's network.
    """

    def __init__(self, network: ViTForImageClassification):
        super().__init__()
        self.vit, self.classifier = network.vit, network.classifier

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # Not `self.vit(pixels)`: when it is exported, that adds a mask of zeros to every attention,
        # chosen from the least float, which no integer range can hold.
        tokens = self.vit.embeddings(pixels)
        for layer in self.vit.layers:
            tokens = layer(tokens)
        return self.classifier(self.vit.layernorm(tokens)[:, 0])

    def carry_over(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state of this network at another size, its position embeddings brought to this size.

        Bicubic, as the paper does for fine-tuning at a higher resolution; the class token's stays.
        """
        embeddings = self.vit.embeddings
        name = "vit.embeddings.position_embeddings"
        patch = cast(int, embeddings.patch_size)  # as `ViTConfig` of this family gives it
        grid = [side // patch for side in embeddings.image_size]
        return state | {name: _resized(state[name], grid)}


def _resized(positions: torch.Tensor, grid: list[int]) -> torch.Tensor:
    """Embeddings (1, 1 + k * k, channels) of a square grid to (1, 1 + rows * columns, channels)."""
    class_token, patches = positions[:, :1], positions[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    maps = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    maps = nn.functional.interpolate(maps, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([class_token, maps.flatten(2).transpose(1, 2)], dim=1)


def vit(
    input_shape: tuple[int, int, int],
    classes: int,
    weights: str | None = None,
    patch: int = 16,
    layers: int = 12,
    heads: int = 12,
    hidden: int = 768,
) -> VisionTransformer:
    """A ViT with an MLP of four times `hidden`; the defaults are ViT-Base/16.

    `weights` names a Hugging Face checkpoint, whose own configuration then counts. Raises OSError
    when it cannot be fetched.
    """
    if weights is not None:
        network = ViTForImageClassification.from_pretrained(
            weights, num_labels=classes, attn_implementation=ATTENTION
        )
        return VisionTransformer(network)
    height, breadth, channels = input_shape
    config = ViTConfig(
        image_size=(height, breadth),
        num_channels=channels,
        num_labels=classes,
        patch_size=patch,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        initializer_range=STANDARD_DEVIATION * (BASE_WIDTH / hidden) ** 0.5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation=ATTENTION,
    )
    return VisionTransformer(ViTForImageClassification(config))
