"""Whether the logits of a model that was quantized out of core are those of its stored weights.

    python benchmarks/out_of_core_reference.py CHECKPOINT OUTPUT [TOKENS]

The reference is Transformers' network in float32, one layer at a time: the weights of each layer's
products are dequantized from the data file by the specification of MatMulNBits, all other weights
are the checkpoint's. ONNX Runtime runs the whole model. Prints JSON: the largest difference of
logits, and of which spread they are.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from int8gate.quantizers.out_of_core.causal_network import INPUT, read_config
from int8gate.quantizers.out_of_core.checkpoint import Checkpoint, open_checkpoint
from int8gate.quantizers.out_of_core.quantized_checkpoint import DATA
from int8gate.runtimes.artifact import ONNX

CHUNK = 4096  # rows of the vocabulary at a time


class Stored:
    """The tensors of the ONNX model's data file, by name, mapped."""

    def __init__(self, output: Path) -> None:
        import onnx

        model = onnx.load(str(output / ONNX), load_external_data=False)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.products = {
            node.input[1].rpartition("_Q")[0]: (
                {each.name: each.i for each in node.attribute},
                list(node.input[1:]),
            )
            for node in model.graph.node
            if node.op_type == "MatMulNBits"
        }
        self.data = np.memmap(output / DATA, np.uint8, "r")

    def array(self, name: str) -> np.ndarray:
        tensor = self.constants[name]
        entries = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(entries["offset"]), int(entries["length"])
        dtype = {1: np.float32, 2: np.uint8}[tensor.data_type]
        return self.data[start : start + length].view(dtype).reshape(tuple(tensor.dims))

    def weights(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of a product's weights, float32 (outputs, inputs), dequantized."""
        settings, names = self.products[name]
        packed, scales, zeros = (self.array(each)[first:last] for each in names)
        if settings["bits"] == 4:
            packed, zeros = (
                np.stack([each & 15, each >> 4], axis=-1).reshape(*each.shape[:-1], -1)
                for each in (packed, zeros)
            )
        zeros = zeros[:, : packed.shape[1]].astype(np.float32)
        values = packed.astype(np.float32)
        values -= zeros[..., None]
        values *= scales[..., None]
        return values.reshape(len(values), -1)[:, : settings["K"]]


def reference_logits(checkpoint: Checkpoint, stored: Stored, ids: np.ndarray) -> np.ndarray:
    """Float32 (1, tokens, vocabulary)."""
    import torch

    config = read_config(checkpoint)
    with torch.device("meta"):
        network = _model_class(config)(config).eval()
    embedding = checkpoint.tensors["model.embed_tokens.weight"]
    hidden = np.stack([embedding.float_rows(token, token + 1)[0] for token in ids[0]])[None]
    hidden = torch.from_numpy(hidden)
    positions = torch.arange(ids.shape[1])[None]
    rotary = type(network.rotary_emb)(config)(hidden, positions)
    mask = torch.full((ids.shape[1],) * 2, torch.finfo(torch.float32).min).triu(1)[None, None]
    for number, layer in enumerate(network.layers):
        prefix = f"model.layers.{number}."
        for name, weight in list(layer.named_parameters()):
            values = (
                stored.weights(prefix + name)
                if weight.dim() == 2
                else checkpoint.tensors[prefix + name].float_rows(0, len(weight))[:, 0]
            )
            owner = layer.get_submodule(name.rpartition(".")[0])
            owner.weight = torch.nn.Parameter(torch.from_numpy(values), requires_grad=False)
        hidden = layer(
            hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary
        )
        network.layers[number] = torch.nn.Identity()
    norm = checkpoint.tensors["model.norm.weight"]
    norm_values = torch.from_numpy(norm.float_rows(0, norm.rows)[:, 0])
    network.norm.weight = torch.nn.Parameter(norm_values, requires_grad=False)
    hidden = network.norm(hidden)[0].numpy()
    head = "lm_head.weight"
    parts = [
        hidden @ stored.weights(head, first, first + CHUNK).T
        for first in range(0, config.vocab_size, CHUNK)
    ]
    return np.concatenate(parts, axis=1)[None]


def _model_class(config):
    from transformers import LlamaModel, MistralModel

    return {"llama": LlamaModel, "mistral": MistralModel}[config.model_type]


def onnx_logits(output: Path, ids: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(output / ONNX, options)
    return session.run(None, {INPUT: ids})[0]


def compare(directory: Path, output: Path, tokens: int) -> dict:
    import torch

    checkpoint = open_checkpoint(directory)
    vocabulary = checkpoint.config["vocab_size"]
    ids = np.random.default_rng(3).integers(0, vocabulary, (1, tokens))
    began = time.process_time()
    made = onnx_logits(output, ids)
    ran = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    with torch.no_grad():
        reference = reference_logits(checkpoint, Stored(output), ids)
    return {
        "tokens": tokens,
        "largest_difference": float(np.abs(made - reference).max()),
        "rms_difference": float(np.sqrt(np.square(made - reference).mean())),
        "rms_logit": float(np.sqrt(np.square(reference).mean())),
        "same_next_token": float((made.argmax(-1) == reference.argmax(-1)).mean()),
        "onnxruntime_cpu_s": ran - began,
        "onnxruntime_peak_gb": peak,
        "reference_cpu_s": time.process_time() - ran,
    }


if __name__ == "__main__":
    directory, output, *tokens = sys.argv[1:]
    figures = compare(Path(directory), Path(output), int(tokens[0]) if tokens else 8)
    print(json.dumps(figures, indent=1))
