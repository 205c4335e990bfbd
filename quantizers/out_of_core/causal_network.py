"""The graph of a causal language model without its weights, from the configuration alone.

Transformers builds the network with two layers on PyTorch's meta device, PyTorch exports it, and
`repeated_layers` makes of the second layer all that follow: exporting 28 layers takes 53 CPU
seconds, two take 4. A weight is a single zero that is seen as a tensor of its shape, so that the
exporter treats it as real, and no step can need its values: they are taken away before anything is
folded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from int8gate.engine.errors import instead, on_a_line
from int8gate.quantizers.out_of_core.checkpoint import CONFIG, TIED, TIED_TO, Checkpoint
from int8gate.quantizers.out_of_core.repeated_layers import repeat_layer
from int8gate.quantizers.toolchains.onnx.from_torch import OPSET, quiet

ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
# Rotary embeddings whose frequencies do not depend on the length of the input.
ROTARY = ("default", "linear", "llama3", "yarn")
EXPORTED_LAYERS = 2
INPUT, OUTPUT = "input_ids", "logits"
WEIGHTS = "weights"  # the placeholder's file name, in a graph whose data is nowhere yet
_PREFIX = "network."  # of the module that wraps the network
_TALKATIVE = ("onnx_ir", "torchao", "torch.utils._pytree")
_EXAMPLE = (2, 8)  # batch and length, where both are free


def read_config(checkpoint: Checkpoint) -> Any:
    """The checkpoint's configuration as Transformers has it.

    Raises ValueError for another architecture than those of `ARCHITECTURES`, for rotary embeddings
    that depend on the input's length, and for values that Transformers refuses.
    """
    file, config = checkpoint.directory / CONFIG, checkpoint.config
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(
            f"{file}: model_type {on_a_line(str(kind))!r} is not known: expected "
            f"{' or '.join(ARCHITECTURES)}; quantize another architecture in memory"
        )
    named = config.get("architectures") or [ARCHITECTURES[kind]]
    if named != [ARCHITECTURES[kind]]:
        raise ValueError(
            f"{file}: architectures {on_a_line(str(named))}, expected {ARCHITECTURES[kind]}: take "
            "the checkpoint of the causal language model"
        )
    try:
        with _silent():
            from transformers import AutoConfig

        read = AutoConfig.for_model(**config)
        rotary = read.rope_parameters["rope_type"]
        with _silent():
            _network(read, 1, with_buffers=rotary in ROTARY)
    except Exception as error:  # of the library's checks, of as many types as checks
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"{file} describes no {kind} network that Transformers can build ({words}): download "
            "it again"
        ) from error
    if rotary not in ROTARY:
        raise ValueError(
            f"{file}: rotary embedding {on_a_line(str(rotary))!r} cannot be exported, as it depends"
            f" on the input's length: {instead(str(rotary), ROTARY)}"
        )
    if read.num_attention_heads % read.num_key_value_heads:
        raise ValueError(
            f"{file}: num_attention_heads {read.num_attention_heads} must be a multiple of "
            f"num_key_value_heads {read.num_key_value_heads}: download it again"
        )
    return read


def check_tensors(checkpoint: Checkpoint, config: Any) -> None:
    """Raises ValueError naming the first tensor that the configuration and the shards differ in."""
    expected = _expected_shapes(config, checkpoint)
    tensors = checkpoint.tensors
    sentence = "config.json and shards are of different models; download both from one place"
    for name in sorted(expected.keys() - tensors.keys()):
        raise ValueError(
            f"{checkpoint.directory}: tensor {name} of shape {expected[name]} is missing, which "
            f"{CONFIG} asks for: {sentence}"
        )
    for name, tensor in tensors.items():
        if _is_ignored(name, config):
            continue
        if name not in expected:
            raise ValueError(
                f"{tensor.file}: tensor {on_a_line(name)} of shape {tensor.shape} has no place in "
                f"the network of {CONFIG} ({config.num_hidden_layers} layers): {sentence}"
            )
        if tensor.shape != expected[name]:
            raise ValueError(
                f"{tensor.file}: tensor {name} is of shape {tensor.shape}, expected "
                f"{expected[name]} by {CONFIG}: {sentence}"
            )
    if config.tie_word_embeddings and TIED in tensors:
        _check_equal(checkpoint)


def export_graph(config: Any, length: int | None) -> Any:
    """An `onnx.ModelProto` from ``input_ids``, int64 (batch, length), to ``logits``, float32
    (batch, length, vocabulary).

    Initializers with the checkpoint's names refer to external data that does not exist. `length`
    fixes both dimensions, (1, length); None leaves both free. Raises ValueError where the network
    cannot take a given length.
    """
    import torch
    from onnxscript import ir

    most = config.max_position_embeddings
    if length is not None and not 1 <= length <= most:
        raise ValueError(f"--length {length}: expected 1 to {most}, the model's positions")
    layers = min(EXPORTED_LAYERS, config.num_hidden_layers)
    module = _with_logits(_network(config, layers, with_buffers=True))
    ids = torch.zeros(_EXAMPLE if length is None else (1, length), dtype=torch.int64)
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (ids,),
            dynamo=True,
            optimize=False,
            dynamic_shapes=({0: "batch", 1: "length"},) if length is None else None,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None  # with dynamo it is a program
        weights = set(module.state_dict())
        values = program.model.graph.initializers
        for name in weights & values.keys():
            values[name].const_value = None
        program.optimize()
    for name in weights & values.keys():
        value = values[name]
        assert value.shape is not None
        assert value.dtype is not None
        value.const_value = ir.ExternalTensor(
            WEIGHTS, None, None, value.dtype, shape=value.shape, name=name
        )
    model = ir.to_proto(program.model)
    _name_as_checkpoint(model.graph, weights)
    repeat_layer(model.graph, "model.layers", layers, config.num_hidden_layers, _PREFIX)
    _forget_traces(model)
    return model


def _network(config: Any, layers: int, with_buffers: bool) -> Any:
    """The network with so many layers, its weights seen through a single zero each."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    with torch.device("meta"):
        network: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    if not with_buffers:
        return network
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            zero = torch.zeros((), dtype=weight.dtype).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(zero, requires_grad=False))
    network.tie_weights()
    rotary = network.model.rotary_emb
    network.model.rotary_emb = type(rotary)(config)  # computed, and in no checkpoint
    return network


def _with_logits(network: Any) -> Any:
    import torch

    class Logits(torch.nn.Module):
        """Without a cache, and with a mask, lest the exporter look for packed sequences."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids):
            mask = torch.ones_like(input_ids)
            return self.network(input_ids=input_ids, attention_mask=mask, use_cache=False).logits

    return Logits().eval()


def _expected_shapes(config: Any, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """By name the shape of every tensor that the network reads, of all layers.

    The number of layers is anybody's: it is compared with the tensors before names are made of it.
    """
    count, layer = config.num_hidden_layers, "model.layers."
    numbers = {name.split(".")[2] for name in checkpoint.tensors if name.startswith(layer)}
    if len(numbers) != count:
        raise ValueError(
            f"{checkpoint.directory}: {CONFIG} says {count} layers, and the shards hold "
            f"{len(numbers)}: they are of different models; download both from one place"
        )
    shapes = {}
    for name, tensor in _network(config, 1, with_buffers=False).state_dict().items():
        if name == TIED and config.tie_word_embeddings:
            continue
        for number in range(count if name.startswith(layer) else 1):
            place = name.replace(f"{layer}0.", f"{layer}{number}.", 1)
            shapes[place] = tuple(tensor.shape)
    return shapes


def _is_ignored(name: str, config: Any) -> bool:
    """Frequencies, which old checkpoints hold and every network computes; tied weights."""
    is_tied = name == TIED and config.tie_word_embeddings
    return is_tied or name.endswith(".rotary_emb.inv_freq")


def _check_equal(checkpoint: Checkpoint) -> None:
    """Raises ValueError where tied weights that are stored twice differ."""
    one, other = checkpoint.tensors[TIED], checkpoint.tensors[TIED_TO]
    rows = max(1, (1 << 20) // max(1, math.prod(one.shape[1:])))
    is_equal = (one.shape, one.dtype) == (other.shape, other.dtype) and all(
        (one.raw_rows(first, last) == other.raw_rows(first, last)).all()
        for first in range(0, one.rows, rows)
        for last in [min(first + rows, one.rows)]
    )
    if not is_equal:
        raise ValueError(
            f"{checkpoint.directory / CONFIG} ties {TIED} to {TIED_TO}, and the shards hold both "
            "with different values: set tie_word_embeddings to false"
        )


def _name_as_checkpoint(graph, weights: set[str]) -> None:
    names = {name: name.removeprefix(_PREFIX) for name in weights}
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)


def _forget_traces(model) -> None:
    """Notes of the exporter that name files of this machine, and shapes that are inferred again."""
    del model.graph.value_info[:]
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for info in (*model.graph.input, *model.graph.output):
        del info.metadata_props[:]


@contextmanager
def _silent() -> Iterator[None]:
    """Without the lines about weights that have no value, which is the point of it, and those of
    torchao and PyTorch about parts that are not used here.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
