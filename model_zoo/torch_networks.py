"""Building the network that a declaration names, with random or official weights (PyTorch).

A network takes float32 (n, channels, h, w), preprocessed as the declaration says, and gives a
tensor or a tuple of tensors; maps come channels last, (n, h, w, k), as the metrics take them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from int8gate.engine import memory
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.weights import check_fit, read_safetensors

GATED = "gated repo"  # what the hub's client says where a licence is not accepted yet


def build(spec: ModelSpec, profile: str, official: bool = False, repository: Path | None = None):
    """The `torch.nn.Module` of a profile, in eval mode.

    Its builder is called with ``input_shape`` (h, w, channels), or ``inputs`` where it takes
    arrays, ``classes`` unless there are none, the declared arguments and, for official weights,
    ``weights`` (a Hugging Face name, or the folder of its files, `repository`). Raises RuntimeError
    saying what to do when these cannot be fetched.
    """
    network = spec.network(profile)
    if network.width != 1:
        raise ValueError(
            f"{spec.name}: width {network.width} narrows Keras networks alone: give its builder an "
            "argument for that, of another name"
        )
    shape: dict[str, Any] = {"input_shape": network.input_shape}
    if network.inputs:
        shape = {"inputs": network.inputs}
    if network.classes is not None:
        shape["classes"] = network.classes
    if official or repository:
        shape["weights"] = str(repository or network.official)
    try:
        model = resolve(network.builder)(**shape, **network.arguments)
    except OSError as error:
        if not official:
            raise
        if GATED in str(error):
            raise RuntimeError(
                f"{spec.name}: the official weights ({network.official}) come under a licence that "
                "has to be accepted first: accept it on the repository's page and set HF_TOKEN to "
                "a token of that account, or pass --weights-dir DIR with the repository's files in "
                f"DIR/{spec.name}"
            ) from error
        raise RuntimeError(
            f"{spec.name}: the official weights ({network.official}) could not be fetched "
            f"({error}): connect this machine, or pass --weights-dir DIR with "
            f"{spec.name}.safetensors, or --weights random for a structure-only run"
        ) from error
    model = resolve(spec.wrapper)(model) if spec.wrapper else model
    return model.eval()


def example(network: Network) -> tuple:
    """What the network is called with: a float32 tensor (1, channels, h, w) of its declared size,
    mid-range; of arrays one for each input, of its shape and dtype, zeros.
    """
    import torch

    if network.inputs:
        return tuple(
            torch.zeros(1, *each.shape, dtype=getattr(torch, each.dtype)) for each in network.inputs
        )
    height, width = network.size
    return (torch.zeros(1, network.input_shape[-1], height, width),)


def tensors_of(model) -> dict[str, np.ndarray]:
    """Parameters and buffers by name, for storing."""
    return {
        name: tensor.detach().cpu().contiguous().numpy()
        for name, tensor in _inferred_with(model.state_dict()).items()
    }


def load(model, path: Path) -> None:
    """Sets a module's parameters and buffers from a `.safetensors` file.

    Raises ValueError naming the file and the first tensor that does not fit.
    """
    import torch

    tensors, wanted = _inferred_with(read_safetensors(path)), tensors_of(model)
    check_fit(tensors, wanted, path, type(model).__name__)
    loaded = {name: torch.from_numpy(tensors[name].copy()) for name in wanted}
    model.load_state_dict(model.state_dict() | loaded)


def read_program(path: Path, example: tuple, trust: bool = False):
    """The module of a `torch.export` file that takes the tensors of `example` (a picture
    (1, c, h, w), or an array (1, ...) for each input), for inference, and sentences on what was
    changed to that end.

    Raises ValueError naming the file for one that is damaged, takes something else, still trains
    or, without `trust`, holds code.
    """
    import torch

    from int8gate.model_zoo.user_models.training_program import for_inference
    from int8gate.runtimes.torch_program import read

    program = read(path, trust)
    repairs = for_inference(program, path)
    module = program.module()
    try:
        with torch.no_grad(), memory.at_most(memory.reading_takes(path) + memory.RUNNING):
            module(*example)
    # What a program guards (its sizes, its dtypes) it says in many ways.
    except Exception as error:
        said = str(error).splitlines()[0]
        given = ", ".join(f"{tuple(each.shape)} of {str(each.dtype)[6:]}" for each in example)
        raise ValueError(
            f"{path} does not take {given} ({said}): export it with such an example"
        ) from error
    return module, repairs


def _inferred_with(state: dict) -> dict:
    """Without the batches that a normalization counted: training alone looks at them."""
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def settle_normalization(model, spec: ModelSpec, profile: str, seed: int) -> None:
    """Sets every batch normalization of a random-weight model from one batch of noise, in place.

    Untouched ones pass the growth of the random convolutions on, layer by layer, until quantized
    kernels refuse the scales; a trained network never looks like that.
    """
    import torch

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    if not layers:
        return
    low, high = spec.preprocessing.range
    generator = torch.Generator().manual_seed(seed)
    shape = (2, *example(spec.network(profile))[0].shape[1:])
    noise = torch.rand(shape, generator=generator) * (high - low) + low
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    with torch.no_grad():
        model(noise)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()
