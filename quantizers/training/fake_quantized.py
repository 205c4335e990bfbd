"""`FakeQuantized`: a `Graph` as a PyTorch module, with weights and scales that can be trained.

Fake quantization is that of `torch.fake_quantize_per_tensor_affine` and `..._per_channel_affine`
(rounding to even, gradients straight through where nothing is clipped), written out so that scales
get gradients, too: those of LSQ (Esser et al., 2020, arXiv:1902.08153), of the logarithm of each
scale (TQT, Jain et al., 2020, arXiv:1903.08066). Zero points stay: a zero stays exact, and a ReLU
that its scale stands for stays one. Weights are symmetric, their scales those of their largest
value, as the toolchains' quantizers take them.

Files have a batch of 1, and what stands in their reshapes is one sample's shape: so the graph is
mapped over the samples of a batch (`torch.vmap`).

What costs time in a step is passes over activations, so `fake_quantized` is one function with a
backward pass of its own, and a tensor whose values lie on its grid already, because they were only
moved there, is not rounded again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from int8gate.quantizers.training.differentiable_graph import (
    AWAY,
    EVEN,
    JOINING,
    MOVES,
    UP,
    Call,
    Constant,
    Graph,
    Grid,
)
from int8gate.runtimes.artifact import SAME


def fake_quantized(
    values, scale, zero_point: int, low: int, high: int, halves: str = EVEN, finer=None
):
    """Real values to the nearest that integers low..high can hold.

    `scale` is a float32 tensor of one scale, or of scales that broadcast, which get no gradient.
    `halves` go to the even step, up or away from zero. With `finer` values are rounded to so many
    parts of a step first.
    """
    bounds = low - zero_point, high - zero_point
    rounded, _ = _FakeQuantize.apply(values, scale, *bounds, halves, finer)
    return rounded


class _FakeQuantize(torch.autograd.Function):
    """(rounded, steps); gradients pass where nothing is clipped, bounds included."""

    @staticmethod
    def forward(values, scale, low: int, high: int, halves: str, finer):
        steps = values / scale
        whole = steps.clamp(low, high)
        if finer is not None:
            whole = whole.mul_(finer).round_().div_(finer)
        if halves == AWAY:
            whole = whole.abs().add_(0.5).floor_().copysign_(whole)
        elif halves == UP:  # also what is a half but for its last bits, as in `TensorSpec.quantize`
            whole = (whole + SAME * whole.abs()).add_(0.5).floor_()
        else:
            whole = whole.round_()
        return whole.mul_(scale), steps

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, scale, low, high, *_ = inputs
        rounded, steps = output
        ctx.mark_non_differentiable(steps)
        ctx.bounds = _below(low), -_below(-high)
        ctx.save_for_backward(rounded, steps, scale)

    @staticmethod
    def backward(ctx, gradient, _):
        rounded, steps, scale = ctx.saved_tensors
        if gradient.stride() != steps.stride():
            gradient = torch.empty_like(steps).copy_(gradient)
        passed = torch.ops.aten.hardtanh_backward(gradient, steps, *ctx.bounds)
        of_scale = None
        if ctx.needs_input_grad[1]:  # LSQ: the integer, less the steps where they are not clipped
            of_scale = _dot(gradient, rounded) / scale - _dot(passed, steps)
        return passed, of_scale, None, None, None, None

    @staticmethod
    def vmap(info, in_dims, values, scale, low, high, halves, finer):
        place = in_dims[0]
        found = _FakeQuantize.apply(values, scale, low, high, halves, finer)
        return found, (place, place)


@functools.cache
def _below(bound: int) -> float:
    """The next float32 below: what stands at a bound is not clipped."""
    return float(np.nextafter(np.float32(bound), np.float32(-np.inf)))


def _dot(one, other):
    """The sum of products, read in the order of memory: maps may stand channels last."""
    if one.is_contiguous() and other.is_contiguous():
        return torch.dot(one.view(-1), other.view(-1))
    order = sorted(range(one.ndim), key=one.stride, reverse=True)
    return torch.dot(one.permute(order).reshape(-1), other.permute(order).reshape(-1))


def weight_scales(weights, of: Constant):
    """The symmetric scale of the largest value, of all or of each entry along its axis."""
    axis = of.axis
    values = weights.detach().abs()
    if axis is None:
        widest = values.max()
    else:
        others = [each for each in range(values.ndim) if each != axis % values.ndim]
        widest = values.amax(others, keepdim=True) if others else values
    scales = widest.double().clamp(min=of.least) / of.high
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(scales < tiny, torch.ones_like(scales), scales).float()


class FakeQuantized(torch.nn.Module):
    """See the module. Called with tensors (n, ...) of each input, gives a list of the outputs'.

    `weights` are its parameters by their source in the float file, `log_scales` (k,) those of the
    activations. `is_quantized` False runs the graph without its quantizers, on the same weights.
    """

    def __init__(self, graph: Graph, is_quantized: bool = True) -> None:
        super().__init__()
        self.graph, self.is_quantized = graph, is_quantized
        sources = {c.source: c for c in graph.constants.values() if c.source}
        self.sources = list(sources)
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter(torch.from_numpy(np.array(sources[name].values, np.float32)))
            for name in self.sources
        )
        self._place = {name: number for number, name in enumerate(self.sources)}
        self.fixed = {
            name: torch.from_numpy(np.array(constant.values))
            for name, constant in graph.constants.items()
            if not constant.source
        }
        groups = [group for group in graph.groups() if all(graph.grids[t].name for t in group)]
        self.groups = groups
        self._group = {tensor: number for number, group in enumerate(groups) for tensor in group}
        scales = [graph.grids[group[0]].scale for group in groups]
        self.log_scales = torch.nn.Parameter(torch.log(torch.tensor(scales, dtype=torch.float64)))
        self.on_their_grid = frozenset(self._on_their_grid())

    def forward(self, *inputs, tensors: Sequence[str] = ()) -> list:
        """Those of the graph's outputs, or of the `tensors` that are named."""
        asked = tuple(tensors) or self.graph.outputs
        with_batch = [values.unsqueeze(1) for values in inputs]
        step = _Step(self)
        constants = {name: step.constant(name) for name in self.graph.constants}
        return [
            values.squeeze(1)
            for values in torch.vmap(lambda *one: self._of_one(one, constants, step, asked))(
                *with_batch
            )
        ]

    def grid(self, tensor: str) -> Grid:
        """The scale of a quantized activation as it is now."""
        grid = self.graph.grids[tensor]
        if tensor not in self._group:
            return grid
        scale = float(torch.exp(self.log_scales.detach()[self._group[tensor]]))
        return replace(grid, scale=scale)

    def weight_scale(self, name: str) -> np.ndarray:
        """The scales of quantized weights as they are now, float32 (channels,) or (1,)."""
        constant = self.graph.constants[name]
        return weight_scales(self.weights_of(constant), constant).numpy().ravel()

    def weights_of(self, constant: Constant) -> torch.nn.Parameter:
        """The parameter that a trained constant is."""
        return self.weights[self._place[constant.source]]

    def group_of(self, tensor: str) -> int | None:
        """The place of an activation's scale in `log_scales`, None of one that is not trained."""
        return self._group.get(tensor)

    def _of_one(self, inputs, constants: dict, step: _Step, asked: Sequence[str]) -> tuple:
        known = dict(constants)
        for name, values in zip(self.graph.inputs, inputs, strict=True):
            known[name] = step.rounded(name, values)
        for call in self.graph.calls:
            found = call.run(*(known[name] if name else None for name in call.inputs))
            found = found if isinstance(found, (tuple, list)) else (found,)
            for name, values in zip(call.outputs, found, strict=True):
                known[name] = step.rounded(name, values)
        return tuple(known[name] for name in asked)

    def _on_their_grid(self) -> set[str]:
        """Quantized tensors that hold values of another one of the same scale, only moved."""
        lies_on: dict[str, object] = {}
        found = set()
        for name in self.graph.inputs:
            lies_on[name] = self._steps_of(name)
        for call in self.graph.calls:
            before = _moved_from(call, lies_on)
            for name in call.outputs:
                own = self._steps_of(name)
                if own is not None and own == before:
                    found.add(name)
                lies_on[name] = before if own is None else own
        return found

    def _steps_of(self, tensor: str) -> object:
        """What two tensors have to have in common for their scales to stay the same."""
        grid = self.graph.grids.get(tensor)
        if grid is None:
            return None
        scale = self._group.get(tensor, grid.scale)
        return tensor in self._group, scale, grid.low, grid.high, grid.zero_point


def _moved_from(call: Call, lies_on: dict[str, object]) -> object:
    """The steps on which all that a call gives lies, None where it computes."""
    if call.kind not in MOVES:
        return None
    read = call.inputs if call.kind in JOINING else call.inputs[:1]
    before = {lies_on.get(name) for name in read}
    return before.pop() if len(before) == 1 else None


class _Step:
    """One pass through a network: its scales, found once."""

    def __init__(self, network: FakeQuantized) -> None:
        self._network, self._graph = network, network.graph
        self._activations = torch.exp(network.log_scales).float().unbind()
        self._of_weights: dict[str, torch.Tensor] = {}

    def rounded(self, name: str, values):
        """An activation as its quantizer leaves it."""
        network, grid = self._network, self._graph.grids.get(name)
        if grid is None or not network.is_quantized or name in network.on_their_grid:
            return values
        before = grid.rounded_before
        finer = self._finer(name, *before) if before else None
        scale, steps = self._scale(name), (grid.zero_point, grid.low, grid.high)
        return fake_quantized(values, scale, *steps, grid.halves, finer)

    def constant(self, name: str):
        """A constant as its layer computes with it."""
        constant, network = self._graph.constants[name], self._network
        if not constant.source:
            return network.fixed[name]
        values = network.weights_of(constant)
        if not network.is_quantized:
            return values
        if constant.high:
            scale = self._weight_scales(name)
            return fake_quantized(values, scale, 0, -constant.high, constant.high)
        if constant.scaled_by:
            return self._whole_steps(values, *constant.scaled_by)
        return values

    def _whole_steps(self, values, read: str, weights: str):
        """A bias as the int32 that it becomes, of a layer that reads `read`."""
        steps = self._scale(read).detach() * self._weight_scales(weights).reshape(-1)
        return values + (torch.round(values / steps) * steps - values).detach()

    def _finer(self, name: str, read: str, weights: str):
        """2 ** s (channels,), where what a sum is multiplied by is of 2 ** -s / 2 to 2 ** -s."""
        factor = self._scale(read).detach() * self._weight_scales(weights).reshape(-1)
        _, exponent = torch.frexp(factor / self._scale(name).detach())
        return torch.exp2((-exponent).clamp(min=0).float())

    def _weight_scales(self, name: str):
        if name not in self._of_weights:
            constant = self._graph.constants[name]
            self._of_weights[name] = weight_scales(self._network.weights_of(constant), constant)
        return self._of_weights[name]

    def _scale(self, tensor: str):
        group = self._network.group_of(tensor)
        if group is None:
            return torch.tensor(self._graph.grids[tensor].scale)
        return self._activations[group]
