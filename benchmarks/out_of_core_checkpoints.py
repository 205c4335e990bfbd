"""Synthetic checkpoints with the shapes, names, dtype and shards of real ones, and random weights.

    python benchmarks/out_of_core_checkpoints.py llama_3_2_3b DIR

The configurations are those that the models' authors publish; weights are normal, of standard
deviation 0.02, in bfloat16, of a seed. Norms are ones. Memory stays below 100 MB: shards are
written tensor by tensor.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np

SHARD_BYTES = 4_970_000_000  # as on the Hub
SLICE_VALUES = 1 << 22
LLAMA_3_2_3B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
MISTRAL_7B = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": 32768,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
CONFIGS = {"llama_3_2_3b": LLAMA_3_2_3B, "mistral_7b_v0_3": MISTRAL_7B}


def tensor_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint, in its order."""
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width)
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.mlp.down_proj.weight": (width, inner),
            f"{layer}.mlp.gate_proj.weight": (inner, width),
            f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.post_attention_layernorm.weight": (width,),
            f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.self_attn.q_proj.weight": (queries, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width),
        }
    shapes["model.norm.weight"] = (width,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    return shapes


def write_checkpoint(config: dict, directory: Path, seed: int = 0) -> int:
    """Writes config.json, the shards and their index; returns the bytes of all tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size, total = 0, 0
    for name, shape in tensor_shapes(config).items():
        nbytes = 2 * math.prod(shape)
        if size + nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += nbytes
        total += nbytes
    located = {}
    rng = np.random.default_rng(seed)
    for number, shapes in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(directory / name, shapes, rng)
        located |= dict.fromkeys(shapes, name)
    index = {"metadata": {"total_size": total}, "weight_map": located}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return total


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> None:
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)
    with open(file, "wb") as opened:
        opened.write(struct.pack("<Q", len(content)) + content)
        for shape in shapes.values():
            for values in _slices(math.prod(shape), len(shape) == 1, rng):
                opened.write(_bfloat16(values).tobytes())


def _slices(count: int, is_norm: bool, rng: np.random.Generator):
    for start in range(0, count, SLICE_VALUES):
        size = min(SLICE_VALUES, count - start)
        if is_norm:
            yield np.ones(size, np.float32)
        else:
            yield rng.standard_normal(size, np.float32) * np.float32(0.02)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """Cut to the upper 16 bits of float32: random values need no rounding."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


if __name__ == "__main__":
    written = write_checkpoint(CONFIGS[sys.argv[1]], Path(sys.argv[2]))
    print(f"{written / 1e9:.2f} GB in {sys.argv[2]}")
