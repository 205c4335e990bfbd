"""The zoo's diffusion models with pictures of 8x8 and one block of each kind, and their folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.synthetic.prompts import encoded
from int8gate.calibration_data.texts.tokenizers import of_bytes
from int8gate.model_zoo import torch_networks
from int8gate.model_zoo.registry import model
from int8gate.model_zoo.spec import ModelSpec

NAMES = ("stable_diffusion_1_5", "flux_1_schnell")
TOKENS = 24
_SMALLER = {
    "stable_diffusion_1_5": {"unet": {"block_out_channels": (8, 16)}},
    "flux_1_schnell": {
        "transformer": {"num_layers": 1, "num_single_layers": 1},
        "text_2": {"num_layers": 1},
    },
}
_VAE = {
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "sample_size": 8,
}
_TIMES = {"stable_diffusion_1_5": 8, "flux_1_schnell": 256}  # features of a time step
_SHAPES = {"stable_diffusion_1_5": (4, 4, 4), "flux_1_schnell": (4, 16)}  # of latents


def small(name: str) -> ModelSpec:
    """The model with a compact network of pictures (8, 8, 1)."""
    spec = model(name)
    assert spec.compact is not None
    declared = spec.compact.arguments
    smaller = _SMALLER[name] | {"vae": _VAE, "text": {"num_hidden_layers": 1}}
    merged = {part: declared[part] | sizes for part, sizes in smaller.items()}
    shape, time = _SHAPES[name], Input("time", (_TIMES[name],), "float32")
    network = replace(
        spec.compact,
        arguments=declared | merged,
        inputs=(Input("latents", shape, "float32"), time, *spec.compact.inputs[2:]),
        drawn=(Input("noise", shape, "float32"), *spec.compact.drawn[1:]),
    )
    return replace(spec, compact=network)


def built(name: str, seed: int = 0):
    """The small network, with random weights."""
    import torch

    torch.manual_seed(seed)
    return torch_networks.build(small(name), "compact")


def tokens(*prompts: str):
    """Token numbers of prompts, an int32 tensor (n, TOKENS)."""
    import torch

    return torch.from_numpy(np.stack([encoded(each, of_bytes(), TOKENS) for each in prompts]))


def latents_of(network, count: int = 2):
    """Noise in the shape of its latents."""
    import torch

    shape = (count, *_SHAPES[NAMES[hasattr(network, "transformer")]])
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def as_full(spec: ModelSpec) -> ModelSpec:
    """The model whose full network is the small one."""
    assert spec.compact is not None
    return replace(spec, full=replace(spec.compact, official=spec.full.official))


def save(network, folder: Path) -> None:
    """Its parts as a repository of diffusers has them, in shards, with their tokenizers."""
    index = {}
    for name, part in network.named_children():
        part.save_pretrained(folder / name, max_shard_size="100KB")
        index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
    encoders = [name for name in index if name.startswith("text_encoder")]
    for number, name in enumerate(encoders):
        tokenizer = name.replace("text_encoder", "tokenizer")
        _tokenizer(number).save_pretrained(folder / tokenizer)
        index[tokenizer] = ["transformers", "PreTrainedTokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _tokenizer(number: int):
    """Of single characters, with marks at both ends (of the second tokenizer at the last alone)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ("<s>", "</s>", "<pad>")
    words = {word: place for place, word in enumerate((*marks, *map(chr, range(32, 127))))}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    single = "$A </s>" if number else "<s> $A </s>"
    made.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def agrees_as_onnx(module, given: tuple) -> tuple[list[np.ndarray], set[str]]:
    """Exports a part for such arguments, compares it with PyTorch; its outputs, its operators."""
    import onnxruntime
    import torch

    program = torch.export.export(module.eval(), given)
    exported = torch.onnx.export(program, dynamo=True, opset_version=20, verbose=False)
    graph = exported.model_proto
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: each.numpy() for name, each in zip(names, given, strict=True)})
    with torch.no_grad():
        expected = module(*given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
    return found, {node.op_type for node in graph.graph.node}
