"""The two steps of generation with a key-value cache, as networks of their own.

    `prefill`   reads a prompt of a fixed length and fills the cache
    `decode`    reads one token at a place, with the cache, and gives the next token's logits

Both have the tensors of `causal_lm.CausalLanguageModel` by the same names, so that they take its
weights; `with_cache` declares them of a model. The cache is two arrays (1, layers, key heads,
length, head size), keys with their rotation; places that nothing was read at hold zeros.

What a step is calibrated on is recorded from the model's own samples, by `prefill_calls` and
`decode_calls`: ranges of a step are those of the same text as the whole network's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.families import causal_lm
from int8gate.model_zoo.spec import ModelSpec

NEVER = torch.finfo(torch.float32).min
CALLS = 4  # of decode that are recorded of a sample: a cache is 30 times as large as its tokens
SEED = 20260101  # of the places at which they are


class _Cached(nn.Module):
    """A language model whose attention reads keys and values from a cache of `length` places."""

    def __init__(self, network: causal_lm.CausalLanguageModel | _Cached, length: int):
        super().__init__()
        self.model, self.lm_head, self.length = network.model, network.lm_head, length
        config: Any = network.model.config
        self.window = getattr(config, "sliding_window", None) or length
        self.groups = config.num_attention_heads // config.num_key_value_heads

    def _run(
        self, tokens: torch.Tensor, places: torch.Tensor, past: list[tuple | None]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens (1, t) at places (t,) to hidden states (1, t, c), and the cache with them in it;
        `past` are keys and values (1, heads, length, size) of each layer, None of an empty one.
        """
        model: Any = self.model
        slots = torch.arange(self.length)
        hidden = model.embed_tokens(tokens)
        rotary = model.rotary_emb(hidden, places[None])
        back = places[:, None] - slots[None]
        mask = torch.where((back >= 0) & (back < self.window), 0.0, NEVER)
        filled = []
        for layer, before in zip(model.layers, past, strict=True):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            shape = (1, tokens.shape[1], -1, attention.head_dim)
            query, key, value = (
                project(normed).view(shape).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            query, key = apply_rotary_pos_emb(query, key, *rotary)
            if before is None:
                rest = (0, 0, 0, self.length - tokens.shape[1])
                keys, values = (nn.functional.pad(new, rest) for new in (key, value))
            else:
                is_here = (slots == places)[:, None]
                keys = torch.where(is_here, key, before[0])
                values = torch.where(is_here, value, before[1])
            filled.append((keys, values))
            scores = query @ repeat_kv(keys, self.groups).transpose(2, 3) * attention.scaling
            weights = (scores + mask).softmax(dim=-1)
            mixed = (weights @ repeat_kv(values, self.groups)).transpose(1, 2).flatten(2)
            hidden = hidden + attention.o_proj(mixed)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        keys, values = (torch.stack(each, dim=1) for each in zip(*filled, strict=True))
        return model.norm(hidden), keys, values


class Prefill(_Cached):
    """Tokens (1, t) to the logits (1, vocabulary) of what follows the last, keys and values; t is
    `prompt` in its artifact.
    """

    prompt = 0

    def forward(self, tokens: torch.Tensor):
        places = torch.arange(tokens.shape[1])
        hidden, keys, values = self._run(tokens, places, [None] * len(self.model.layers))
        # Of three axes the product is the operator that it is in the whole network, MatMul.
        return self.lm_head(hidden[:, -1:])[:, 0], keys, values


class Decode(_Cached):
    """A token (1, 1), its place (1,), keys and values to the logits (1, vocabulary) of what
    follows it, and the cache with it.
    """

    def forward(
        self, token: torch.Tensor, place: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ):
        past: list[tuple | None] = [
            (keys[:, number], values[:, number]) for number in range(len(self.model.layers))
        ]
        hidden, keys, values = self._run(token, place, past)
        return self.lm_head(hidden)[:, 0], keys, values


def prefill(
    inputs: tuple[Input, ...], classes: int, of: str, length: int, **others: Any
) -> Prefill:
    """The prefill network of the builder `of` in `causal_lm`, for a prompt as long as its input and
    a cache of `length` places; `others` are that builder's, which raises what it raises.
    """
    step = Prefill(getattr(causal_lm, of)(inputs, classes, **others), length)
    (prompt,) = inputs[0].shape
    assert prompt is not None  # of fixed length
    step.prompt = prompt
    return step


def decode(inputs: tuple[Input, ...], classes: int, of: str, length: int, **others: Any) -> Decode:
    """The network of one step, as `prefill`."""
    whole = (Input("tokens", (length,), "int32"),)
    return Decode(getattr(causal_lm, of)(whole, classes, **others), length)


def prefill_calls(step: Prefill, tokens: np.ndarray) -> Iterator[list[np.ndarray]]:
    """What prefill is called with of samples (n, length): the first of their tokens, (1, prompt)
    int32 each.
    """
    for row in tokens:
        yield [row[None, : step.prompt]]


def decode_calls(step: Decode, tokens: np.ndarray) -> Iterator[list[np.ndarray]]:
    """What decode is called with at `CALLS` places of each sample (n, length), drawn by chance:
    token (1, 1), place (1,), and keys and values of the tokens before it.
    """
    whole = Prefill(step, step.length).eval()
    places = np.random.default_rng(SEED).integers(1, step.length, (len(tokens), CALLS))
    slots = np.arange(step.length)[:, None]
    for row, chosen in zip(tokens, places, strict=True):
        with torch.no_grad():
            _, keys, values = whole(torch.from_numpy(row[None].copy()))
        for place in chosen:
            past = [np.where(slots < place, each.numpy(), 0) for each in (keys, values)]
            yield [row[None, place : place + 1], np.array([place], np.int32), *past]


def with_cache(spec: ModelSpec, prompt: int) -> tuple[ModelSpec, ModelSpec]:
    """The declarations of a compact language model's two steps: prefill of `prompt` tokens, and
    decode, with a cache as long as the model's sequences.

    Raises ValueError for a prompt that leaves no token of a sequence to decode.
    """
    network = spec.network("compact")
    (length,) = network.inputs[0].shape
    assert length is not None  # sequences are of fixed length
    if not 0 < prompt < length:
        raise ValueError(
            f"{spec.name}: a prompt of {prompt} tokens, expected 1 to {length - 1}: its sequences "
            f"have {length}"
        )
    sizes = network.arguments
    head = sizes["hidden_size"] // sizes["num_attention_heads"]
    cache = (sizes["num_hidden_layers"], sizes["num_key_value_heads"], length, head)
    more = {"of": network.builder.partition(":")[2], "length": length}
    inputs = {
        "prefill": (Input("tokens", (prompt,), "int32"),),
        "decode": (
            Input("token", (1,), "int32"),
            Input("place", (), "int32"),
            Input("keys", cache, "float32"),
            Input("values", cache, "float32"),
        ),
    }

    def declared(step: str) -> ModelSpec:
        builder = f"{__name__}:{step}"
        changed = replace(
            network,
            builder=builder,
            inputs=inputs[step],
            arguments=sizes | more,
            drawn=network.inputs,
            calls=f"{__name__}:{step}_calls",
            steps=None,
        )
        return replace(spec, compact=changed)

    return declared("prefill"), declared("decode")
