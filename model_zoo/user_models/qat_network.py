"""A PyTorch network that was trained quantization-aware: its function and checkpoint to a QDQ file.

    [models.gadget.qat]
    network = "my_nets:prepared"   # gives the network as prepare_qat (or prepare_qat_pt2e) left it
    checkpoint = "qat.pt"          # its state dict after training

`torch.onnx.export` cannot write the fused observer that `prepare_qat` puts in by default. What a
fake-quantization module computes in evaluation mode is one call of
`torch.fake_quantize_per_tensor_affine` or `..._per_channel_affine` with its scales and zero points,
which it can: so that call takes the module's place, and a convolution with its normalization
becomes the convolution that `torch.ao.quantization.convert` would make (`to_float`). A network of
PT2E goes through torchao's `convert_pt2e`. Scales and zero points stay those of the checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from int8gate.engine.errors import some_of
from int8gate.engine.plugins import resolve

OPSET = 20
EXPORTED = ((0, 255), (-128, 127), (0, 127))  # integers that the exporter has an operator for
LONGEST = 200  # characters of another library's sentence
STATE = ("state_dict", "model")  # keys under which trainers keep one


def load(network: str, checkpoint: Path):
    """The `torch.nn.Module` of that function with the checkpoint's values, in evaluation mode, its
    observers off.

    Raises ValueError or OSError in a sentence: for a function that fails or gives no network with
    fake quantization, a checkpoint of another network, or one that holds more than tensors.
    """
    import torch

    told = f"qat: network = {network!r}"
    try:
        module = resolve(network)()
    except Exception as error:  # it is not our code: anything
        raise ValueError(
            f"{told} raised {_said(error)}: it is called without arguments and returns the "
            "prepared network"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ValueError(
            f"{told} returned {type(module).__name__}, expected the torch.nn.Module that "
            "prepare_qat returns"
        )
    if not any(map(_is_fake_quantization, module.modules())):
        raise ValueError(f"{told} {_without_fake_quantization(module)}")
    _load_state(module, checkpoint, told)
    _evaluate(module)
    return module


def to_qdq(module, shape: tuple[int, ...], target: Path) -> list[str]:
    """Writes a loaded network (`load`) of one input (1, c, h, w) as an ONNX file in QDQ form;
    returns sentences on what changed. The module is taken apart.

    Raises ValueError where it does not take that input, where an observer that it uses has seen
    nothing, and where PyTorch cannot export it.
    """
    import torch

    example = (torch.zeros(shape),)
    used = _used(module, example)
    _check_observers(used)
    changed: list[str] = []
    with _quiet(), torch.no_grad():
        if isinstance(module, torch.fx.GraphModule):
            module = _converted_pt2e(module)
        else:
            changed = _make_plain(module, used)
        try:
            program = torch.export.export(module, example)
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["image"],
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # the exporters raise whatever they raise
            raise ValueError(
                f"PyTorch cannot export the network ({_said(error)}): export it yourself as ONNX "
                "in QDQ form and give that file"
            ) from error
        assert written is not None  # with dynamo it is a program
        written.save(str(target), external_data=False)
    return changed


def output_shapes(module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of a loaded network's outputs; raises ValueError as `to_qdq` does."""
    import torch

    outputs = _called(module, (torch.zeros(shape),))
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return [tuple(output.shape) for output in outputs]


def _is_fake_quantization(module) -> bool:
    """One of torch.ao's, of torchao's or derived from them: they have no class in common."""
    parts = ("scale", "zero_point", "quant_min", "quant_max", "fake_quant_enabled")
    return all(hasattr(module, part) for part in parts)


def _without_fake_quantization(module) -> str:
    kinds = {type(each) for each in module.modules()}
    integer = [each for each in kinds if "nn.quantized" in each.__module__]
    integer = [each for each in integer if not each.__name__.endswith("FloatFunctional")]
    if any("qat" not in each.__module__ for each in integer):
        return (
            "returned a network that was converted to integers, expected it as prepare_qat left "
            "it: return it before torch.ao.quantization.convert"
        )
    return (
        f"returned {type(module).__name__} without fake quantization, expected a prepared network: "
        "call torch.ao.quantization.prepare_qat in it, as before training"
    )


def _load_state(module, checkpoint: Path, told: str) -> None:
    import torch

    where = f"qat: checkpoint {checkpoint.name}"
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # of a damaged or foreign file anything
        raise ValueError(
            f"{where} cannot be read as tensors alone ({_said(error)}): save "
            "network.state_dict() with torch.save"
        ) from error
    if isinstance(state, dict):
        state = next((state[key] for key in STATE if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(
            f"{where} holds {type(state).__name__}, expected a state dict: save "
            "network.state_dict() with torch.save"
        )
    try:
        found = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{where} does not fit {told} ({_said(error)}): return the network that was trained"
        ) from error
    for names, what in ((found.missing_keys, "lacks"), (found.unexpected_keys, "also has")):
        if names:
            raise ValueError(
                f"{where} {what} {some_of(names)}, which {told} "
                f"{'has' if what == 'lacks' else 'has not'}: save the state dict of that network, "
                "prepared as it was trained"
            )


def _evaluate(module) -> None:
    import torch

    if isinstance(module, torch.fx.GraphModule):
        from torchao.quantization.pt2e import move_exported_model_to_eval

        move_exported_model_to_eval(module)
    else:
        module.eval()
    for each in module.modules():
        if _is_fake_quantization(each):
            each.observer_enabled.zero_()


def _called(module, example: tuple):
    import torch

    try:
        with torch.no_grad():
            return module(*example)
    except Exception as error:  # it is not our code: anything
        raise ValueError(
            f"the network does not take an input {tuple(example[0].shape)} ({_said(error)}): mend "
            "size and channels; a program of torch.export takes it where its batch is free or 1"
        ) from error


def _used(module, example: tuple) -> dict:
    """The fake-quantization modules that a call runs, with their names."""
    called, hooks = {}, []
    for name, each in module.named_modules():
        if _is_fake_quantization(each):
            note = lambda one, *_, name=name: called.__setitem__(one, name)  # noqa: E731
            hooks.append(each.register_forward_hook(note))
    try:
        _called(module, example)
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _check_observers(used: dict) -> None:
    import torch

    unseen = []
    for each, name in used.items():
        observer = getattr(each, "activation_post_process", None)
        low = getattr(observer, "min_val", None)
        if low is not None and not (low.numel() and torch.isfinite(low).all()):
            unseen.append(name)
    if unseen:
        raise ValueError(
            f"the observers {some_of(unseen)} have seen nothing ({len(unseen)} of {len(used)}), so "
            "that their scales are no trained ones: train or run the prepared network before its "
            "checkpoint is saved"
        )
    if not any(int(each.fake_quant_enabled) for each in used):
        raise ValueError(
            "the fake quantization of the whole network is switched off, expected it on: call "
            "torch.ao.quantization.enable_fake_quant before the checkpoint is saved"
        )


def _make_plain(module, used: dict) -> list[str]:
    """Puts plain calls in the place of fake-quantization modules, in place."""
    import torch
    from torch.nn.utils import parametrize

    wider: list[str] = []

    def change(parent) -> None:
        for name, child in list(parent.named_children()):
            if _is_fake_quantization(child):
                setattr(parent, name, _plain(child, used.get(child, name), wider))
                continue
            rounding = getattr(child, "weight_fake_quant", None)
            if rounding is None or not hasattr(child, "to_float"):
                change(child)
                continue
            layer = child.to_float()
            product = layer[0] if isinstance(layer, torch.nn.Sequential) else layer
            if int(rounding.fake_quant_enabled):
                product.weight.data = rounding(product.weight.data)  # exact in any range
                step = _plain(rounding, used.get(rounding, name), [])
                parametrize.register_parametrization(product, "weight", step, unsafe=True)
            behind = getattr(child, "activation_post_process", None)
            parts = [layer]
            if behind is not None and behind in used:
                parts.append(_plain(behind, used[behind], wider))
            setattr(parent, name, torch.nn.Sequential(*parts))

    change(module)
    if not wider:
        return []
    return [
        f"{some_of(wider)} had fewer than 8 bits in training: the trained scale ships, and values "
        "beyond are no longer clipped."
    ]


def _plain(module, name: str, wider: list[str]):
    """A module of one call of `torch.fake_quantize_...`; names go to `wider` whose range grows."""
    import torch

    if not int(module.fake_quant_enabled):
        return torch.nn.Identity()
    bounds = int(module.quant_min), int(module.quant_max)
    if bounds not in EXPORTED:
        wider.append(name)
        bounds = (0, 255) if bounds[0] >= 0 else (-128, 127)
    is_of_channels = bool(getattr(module, "is_per_channel", False))
    return _call()(module, bounds, int(module.ch_axis) if is_of_channels else None)


def _call():
    import torch

    class FakeQuantize(torch.nn.Module):
        """float32 in and out, rounded to 8 bits; `axis` None: one scale."""

        def __init__(self, module, bounds: tuple[int, int], axis: int | None) -> None:
            super().__init__()
            self.bounds, self.axis = bounds, axis
            if axis is None:
                self.scale, self.zero_point = float(module.scale), int(module.zero_point)
            else:
                self.register_buffer("scales", module.scale.detach().clone())
                self.register_buffer("zero_points", module.zero_point.detach().clone().int())

        def forward(self, values):
            if self.axis is None:
                of_all = self.scale, self.zero_point
                return torch.fake_quantize_per_tensor_affine(values, *of_all, *self.bounds)
            of_each = self.scales, self.zero_points, self.axis
            return torch.fake_quantize_per_channel_affine(values, *of_each, *self.bounds)

    return FakeQuantize


def _converted_pt2e(module):
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    try:
        return convert_pt2e(module)
    except Exception as error:  # torchao raises whatever it raises
        raise ValueError(
            f"torchao cannot convert the network of PT2E ({_said(error)}): export it yourself as "
            "ONNX in QDQ form and give that file"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch.ao's warnings that it is deprecated, and those of the exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _said(error: Exception) -> str:
    """An error of somebody's library, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"
