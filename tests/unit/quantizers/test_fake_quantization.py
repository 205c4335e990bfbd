"""Fake quantization as one function: what it computes, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.quantizers.training.differentiable_graph import AWAY, EVEN, UP, Call, Graph, Grid
from int8gate.runtimes.artifact import SAME, TensorSpec

GRIDS = st.sampled_from([(0, -128, 127), (-128, -128, 127), (128, 0, 255), (3, -7, 7)])
SCALES = st.floats(1e-3, 1e3)
SEEDS = st.integers(0, 2**16)


def written_out(values, scale, zero_point, low, high, halves):
    """Operator by operator, as PyTorch differentiates it by itself."""
    import torch

    steps = torch.clamp(values / scale, low - zero_point, high - zero_point)
    slack = SAME * steps.abs()
    whole = torch.floor(steps + slack + 0.5) if halves == UP else steps.round()
    return (steps + (whole - steps).detach()) * scale


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 10), st.integers(-128, 127))
def test_an_input_is_rounded_as_the_host_rounds_it(scale, zero_point):
    """Halves too: of pixels from -1 to 1 every one is halfway, and floats decide by last bits."""
    import torch

    from int8gate.quantizers.training.fake_quantized import fake_quantized

    step = np.float32(scale)
    halves = np.arange(-300, 301, dtype=np.float64) / 2
    real = (halves * step).astype(np.float32)
    spec = TensorSpec("x", real.shape, "int8", float(step), zero_point)
    rounded = fake_quantized(torch.from_numpy(real), torch.tensor(step), zero_point, -128, 127, UP)
    integers = np.rint(rounded.numpy() / step) + zero_point
    np.testing.assert_array_equal(integers, spec.quantize(real))


def drawn(seed: int, scale: float):
    """Values (5, 40), some on steps, halves and bounds, with a gradient for each."""
    import torch

    random = np.random.default_rng(seed)
    steps = random.normal(0, 80, (5, 40))
    steps[0] = np.round(steps[0])
    steps[1] = np.round(steps[1]) + 0.5
    values = torch.tensor(steps * scale, dtype=torch.float32)
    return values, torch.tensor(random.normal(size=(5, 40)), dtype=torch.float32)


def outcome(run, values, scale: float, weights, mapped: bool):
    """Rounded values, gradients of values and of the scale."""
    import torch

    values = values.clone().requires_grad_()
    step = torch.tensor(scale, dtype=torch.float32, requires_grad=True)
    rounded = torch.vmap(lambda one: run(one, step))(values) if mapped else run(values, step)
    (rounded * weights).sum().backward()
    return rounded.detach(), values.grad, step.grad


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCALES, GRIDS, st.sampled_from([EVEN, UP]), st.booleans())
def test_it_is_what_the_operators_written_out_give(seed, scale, grid, halves, mapped):
    import torch

    from int8gate.quantizers.training.fake_quantized import fake_quantized

    values, weights = drawn(seed, scale)
    one, other = (
        outcome(lambda v, s, run=run: run(v, s, *grid, halves), values, scale, weights, mapped)
        for run in (fake_quantized, written_out)
    )
    assert torch.equal(one[0], other[0])
    torch.testing.assert_close(one[1], other[1], rtol=1e-6, atol=0)
    terms = float((weights * values / scale).abs().sum())  # what cancels in float32
    assert abs(float(one[2] - other[2])) <= 1e-5 * (terms + 1)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SCALES, st.integers(0, 12))
def test_a_sum_that_is_rounded_twice_is_rounded_as_tflite_does(seed, scale, shift):
    """`MultiplyByQuantizedMultiplier`, in integers: to 2 ** -shift of a step, then to a step."""
    import torch

    from int8gate.quantizers.training.fake_quantized import fake_quantized

    random = np.random.default_rng(seed)
    finer = random.integers(-100 * 2**shift, 100 * 2**shift, 64)  # after the first rounding
    values = torch.tensor(finer / 2**shift, dtype=torch.float32)
    parts = torch.tensor(float(2**shift))
    rounded = fake_quantized(values, torch.tensor(1.0), 0, -128, 127, AWAY, parts)
    mask = (1 << shift) - 1
    remainder, threshold = finer & mask, (mask >> 1) + (finer < 0)
    np.testing.assert_array_equal(rounded.numpy(), (finer >> shift) + (remainder > threshold))


def moving(*kinds: str) -> Graph:
    """A row of operators of these kinds, which give what they read, all in one scale; x (1, 6)."""
    names = ["x", *(f"t{number}" for number in range(len(kinds)))]
    grids = {name: Grid(0.3, -3, -128, 127, name) for name in names}
    calls = [
        Call(kind, lambda values: values, (read,), (written,))
        for kind, read, written in zip(kinds, names, names[1:], strict=False)
    ]
    return Graph(("x",), (names[-1],), ((1, 6),), calls, {}, grids, [set(names)])


def test_what_was_only_moved_on_its_grid_is_the_same_rounded_again():
    import torch

    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    network = FakeQuantized(moving("RESHAPE", "TRANSPOSE", "DequantizeLinear", "QuantizeLinear"))
    assert network.on_their_grid == {"t0", "t1", "t2", "t3"}
    x = torch.tensor(np.random.default_rng(0).normal(0, 30, (8, 6)), dtype=torch.float32)
    with torch.no_grad():
        network.log_scales += 0.01  # a trained scale is no round number
        (one,) = network(x)
        network.on_their_grid = frozenset()
        (other,) = network(x)
    assert torch.equal(one, other)
    assert not torch.equal(one, x)


@pytest.mark.parametrize(
    "kind", ["ADD", "MAX_POOL_2D and activation", "AVERAGE_POOL_2D", "Sigmoid"]
)
def test_what_is_computed_is_rounded(kind):
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    assert FakeQuantized(moving("RESHAPE", kind, "RESHAPE")).on_their_grid == {"t0", "t2"}


def test_what_has_another_scale_is_rounded():
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    graph = moving("RESHAPE", "RESHAPE")
    graph.grids["t0"] = Grid(0.5, -3, -128, 127, "t0")
    assert not FakeQuantized(graph).on_their_grid


def test_a_scale_that_does_not_follow_its_range_is_not_learned():
    """A quantizer fixes that of a sigmoid, and of what only moves its values."""
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    graph, widened = moving("ADD", "Sigmoid", "RESHAPE"), moving("ADD", "Sigmoid", "RESHAPE")
    graph.tied.clear()
    for name in ("x", "t0"):
        widened.grids[name] = Grid(0.3 * 1.02, -3, -128, 127, name)
    graph.keep_fixed(widened, 1.02)
    assert {name for name, grid in graph.grids.items() if grid.name} == {"x", "t0"}
    assert sorted(map(sorted, FakeQuantized(graph).groups)) == [["t0"], ["x"]]
