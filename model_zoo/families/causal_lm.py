"""Language models of Hugging Face transformers: LLaMA (Touvron et al. 2023; Grattafiori et al.,
"The Llama 3 Herd of Models", 2024) and Mistral (Jiang et al., "Mistral 7B", 2023).

Blocks of both: RMSNorm before each half, rotary position embeddings, grouped-query attention, an
MLP of SwiGLU. Mistral's tokens see a window of those before them alone; LLaMA 3.2's output layer
shares its weights with the embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.families.pretrained import loaded

ATTENTION = "eager"  # plain matrix products and softmax, which every exporter and quantizer knows


class CausalLanguageModel(nn.Module):
    """Token numbers (n, length) to logits (n, length, vocabulary), float32, of what follows each.

    Its tensors have the names that they have in the library's network. `length` is fixed: the mask
    is a constant of the exported graph.
    """

    mask: torch.Tensor

    def __init__(self, network: LlamaForCausalLM | MistralForCausalLM, length: int):
        super().__init__()
        self.model, self.lm_head = network.model, network.lm_head
        self.is_tied = bool(network.config.tie_word_embeddings)
        window = getattr(network.config, "sliding_window", None)
        self.register_buffer("mask", causal_mask(length, window), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        # A mask of four axes is taken as it is. The library's own is chosen while it runs, by
        # conditions that an exporter would have to follow.
        found = self.model(
            input_ids=tokens,
            attention_mask=self.mask.expand(len(tokens), -1, -1, -1),
            use_cache=False,
        )
        return self.lm_head(found.last_hidden_state)


def causal_mask(length: int, window: int | None) -> torch.Tensor:
    """What is added to attention's scores, float32 (1, 1, length, length): 0 where a token (a row)
    sees another, its own and at most `window` - 1 before it, the least float elsewhere.
    """
    place = torch.arange(length)
    back = place[:, None] - place[None]
    sees = (back >= 0) & (back < (window or length))
    return torch.where(sees, 0.0, torch.finfo(torch.float32).min)[None, None]


def llama(
    inputs: tuple[Input, ...], classes: int, weights: str | None = None, **sizes: Any
) -> CausalLanguageModel:
    """A LLaMA of `classes` tokens; `sizes` are those of `transformers.LlamaConfig`.

    `weights` names a Hugging Face repository, or its folder, whose own configuration then counts.
    Raises OSError where it cannot be fetched, ValueError where its vocabulary is another.
    """
    return _built(LlamaForCausalLM, LlamaConfig, inputs, classes, weights, sizes)


def mistral(
    inputs: tuple[Input, ...], classes: int, weights: str | None = None, **sizes: Any
) -> CausalLanguageModel:
    """A Mistral, as `llama`; `sizes` are those of `transformers.MistralConfig`."""
    return _built(MistralForCausalLM, MistralConfig, inputs, classes, weights, sizes)


def _built(kind, config_of, inputs, classes: int, weights: str | None, sizes: dict):
    (length,) = inputs[0].shape
    if weights is not None:
        config = AutoConfig.from_pretrained(weights, trust_remote_code=False)
        if not isinstance(config, config_of) or config.vocab_size != classes:
            raise ValueError(
                f"{weights} holds a {config.model_type} of {config.vocab_size} tokens, expected "
                f"{config_of.model_type} of {classes}: name the repository of the declared model"
            )
        network = loaded(
            kind,
            weights,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            trust_remote_code=False,
        )
        return CausalLanguageModel(network, length)
    config = config_of(vocab_size=classes, attn_implementation=ATTENTION, use_cache=False, **sizes)
    return CausalLanguageModel(kind(config), length)
