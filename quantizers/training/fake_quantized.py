"""`FakeQuantized`: a `Graph` as a PyTorch module, with weights and scales that can be trained.

Fake quantization is that of `torch.fake_quantize_per_tensor_affine` and `..._per_channel_affine`
(rounding to even, gradients straight through where nothing is clipped), written out so that scales
get gradients, too: those of LSQ (Esser et al., 2020, arXiv:1902.08153), of the logarithm of each
scale (TQT, Jain et al., 2020, arXiv:1903.08066). Zero points stay: a zero stays exact, and a ReLU
that its scale stands for stays one. Weights are symmetric, their scales those of their largest
value, as the toolchains' quantizers take them.

Files have a batch of 1, and what stands in their reshapes is one sample's shape: so the graph is
mapped over the samples of a batch (`torch.vmap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from int8gate.quantizers.training.differentiable_graph import Constant, Graph, Grid


def fake_quantized(values, scale, zero_point: int, low: int, high: int, halves_up: bool = False):
    """Real values to the nearest that integers low..high can hold."""
    steps = torch.clamp(values / scale, low - zero_point, high - zero_point)
    whole = torch.floor(steps + 0.5) if halves_up else steps.round()
    return (steps + (whole - steps).detach()) * scale


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
        self._fixed = {
            name: torch.from_numpy(np.array(constant.values))
            for name, constant in graph.constants.items()
            if not constant.source
        }
        groups = [group for group in graph.groups() if all(graph.grids[t].name for t in group)]
        self.groups = groups
        self._group = {tensor: number for number, group in enumerate(groups) for tensor in group}
        scales = [graph.grids[group[0]].scale for group in groups]
        self.log_scales = torch.nn.Parameter(torch.log(torch.tensor(scales, dtype=torch.float64)))

    def forward(self, *inputs, tensors: Sequence[str] = ()) -> list:
        """Those of the graph's outputs, or of the `tensors` that are named."""
        asked = tuple(tensors) or self.graph.outputs
        with_batch = [values.unsqueeze(1) for values in inputs]
        scales = torch.exp(self.log_scales).float()
        constants = {name: self._constant(name, scales) for name in self.graph.constants}
        return [
            values.squeeze(1)
            for values in torch.vmap(lambda *one: self._of_one(one, constants, scales, asked))(
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
        values = self.weights[self._place[constant.source]]
        return weight_scales(values, constant).numpy().ravel()

    def _constant(self, name: str, scales):
        constant = self.graph.constants[name]
        if not constant.source:
            return self._fixed[name]
        values = self.weights[self._place[constant.source]]
        if not self.is_quantized:
            return values
        if constant.high:
            scale = weight_scales(values, constant)
            return fake_quantized(values, scale, 0, -constant.high, constant.high)
        if constant.scaled_by:
            return self._whole_steps(values, *constant.scaled_by, scales)
        return values

    def _whole_steps(self, values, read: str, weights: str, scales):
        """A bias as the int32 that it becomes, of a layer that reads `read`."""
        of_layer = self.graph.constants[weights]
        own = self.weights[self._place[of_layer.source]]
        steps = self._scale(read, scales) * weight_scales(own, of_layer)
        steps = steps.detach().reshape(-1)
        return values + (torch.round(values / steps) * steps - values).detach()

    def _scale(self, tensor: str, scales):
        group = self._group.get(tensor)
        return torch.tensor(self.graph.grids[tensor].scale) if group is None else scales[group]

    def _of_one(self, inputs, constants: dict, scales, asked: Sequence[str]) -> tuple:
        known = dict(constants)
        for name, values in zip(self.graph.inputs, inputs, strict=True):
            known[name] = self._rounded(name, values, scales)
        for call in self.graph.calls:
            found = call.run(*(known[name] if name else None for name in call.inputs))
            found = found if isinstance(found, (tuple, list)) else (found,)
            for name, values in zip(call.outputs, found, strict=True):
                known[name] = self._rounded(name, values, scales)
        return tuple(known[name] for name in asked)

    def _rounded(self, name: str, values, scales):
        grid = self.graph.grids.get(name)
        if grid is None or not self.is_quantized:
            return values
        steps = grid.zero_point, grid.low, grid.high
        return fake_quantized(values, self._scale(name, scales), *steps, grid.halves_up)
