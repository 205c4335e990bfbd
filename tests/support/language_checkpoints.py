"""Small checkpoints of language models: written by Transformers, or header and bytes alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 144,  # no multiple of the block: its last block is padded
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA = SIZES | {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
MISTRAL = SIZES | {
    "model_type": "mistral",
    "num_hidden_layers": 3,
    "tie_word_embeddings": False,
    "sliding_window": 6,
}
DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def save(config: dict, directory: Path, dtype: str = "bfloat16", shard: str = "100KB"):
    """As `save_pretrained` writes it, with random weights of a spread that makes logits differ;
    returns the network.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(5)
    network = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**config, initializer_range=0.15), dtype=getattr(torch, dtype)
    ).eval()
    for name, weight in network.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    network.save_pretrained(directory, max_shard_size=shard)
    return network


def float_network(directory: Path):
    """The checkpoint in memory, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def shapes_of(config: dict) -> dict[str, tuple[int, ...]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width)
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        shapes |= {f"{layer}.self_attn.{each}_proj.weight": (width, width) for each in "qo"}
        shapes |= {f"{layer}.self_attn.{each}_proj.weight": (keys, width) for each in "kv"}
        shapes |= {f"{layer}.mlp.{each}_proj.weight": (inner, width) for each in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, inner)
        shapes[f"{layer}.input_layernorm.weight"] = (width,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    return shapes


def write_shard(file: Path, tensors: dict[str, np.ndarray], dtypes: dict[str, str]) -> None:
    """A safetensors file, byte by byte: arrays of the bits, and what the header says they are."""
    header, content = {}, b""
    for name, bits in tensors.items():
        start = len(content)
        content += bits.tobytes()
        header[name] = {
            "dtype": dtypes.get(name, "BF16"),
            "shape": list(bits.shape),
            "data_offsets": [start, len(content)],
        }
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content)


def write_raw(config: dict, directory: Path, shards: int = 2, seed: int = 0) -> None:
    """A checkpoint of bfloat16 without PyTorch, in so many shards; a single file has no index."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype("uint16")
        for name, shape in shapes_of(config).items()
    }
    if shards == 1:
        write_shard(directory / "model.safetensors", tensors, {})
        return
    located = {}
    names = list(tensors)
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        write_shard(directory / file, {name: tensors[name] for name in part}, {})
        located |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": located}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


class Stopped(Exception):
    """What `stop_at` raises."""


def stop_at(count: int):
    """A progress function that raises `Stopped` when it is called for that time."""
    steps = []

    def progress(step) -> None:
        steps.append(step)
        if len(steps) == count:
            raise Stopped

    return progress
