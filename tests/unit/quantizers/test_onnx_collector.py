"""The ONNX calibrator against every activation kept: what is exact, what is sampled, what fails."""

import itertools
import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, save, save_outside, with_weights

from int8gate.quantizers.calibration import statistics
from int8gate.quantizers.calibration.table import merge_tables
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx.collector import collect
from int8gate.quantizers.toolchains.onnx.prepare import prepare

SAMPLES = 7
BLOCKED = """
<ir_version: 8, opset_import: ["" : 18]>
blocked (float[N, 3, 33, 31] image) => (float[N, 20, 17, 16] sum) {
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, w1)
    b = Relu (a)
    c = Conv <kernel_shape = [1, 1]> (b, w2)
    d = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (c)
    e = Conv <kernel_shape = [1, 1]> (d, w3)
    f = Conv <kernel_shape = [1, 1]> (b, w3)
    g = Add (e, f)
    sum = Relu (g)
}
"""
BLOCKED_TENSORS = ["image", "a", "b", "c", "d", "e", "g", "sum"]
MATRIX = """
<ir_version: 8, opset_import: ["" : 17]>
matrix (float[1, 12, 8] tokens) => (float[1, 12, 8] out) {
    scores = MatMul (tokens, w)
    out = %s (scores)
}
"""


@pytest.fixture(autouse=True)
def _closed():
    yield
    onnx_collector.close()


@pytest.fixture
def small(tmp_path):
    """A model, its samples, and the names of its activations."""
    model, samples = save(cnn(), tmp_path / "m.onnx"), tmp_path / "samples.npy"
    np.save(samples, pictures(SAMPLES).transpose(0, 2, 3, 1))
    return model, samples, ["image", "first", "a", "b", "sum", "flat", "scores"]


@pytest.fixture
def blocked(tmp_path):
    """A model of 16, 32 and 20 channels, with a fork, on pictures of odd sides."""
    random = np.random.default_rng(5)
    shapes = {"w1": (16, 3, 3, 3), "w2": (32, 16, 1, 1), "w3": (20, 32, 1, 1)}
    shapes["w3b"] = (20, 16, 1, 1)
    weights = {
        name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()
    }
    model = with_weights(BLOCKED.replace("(b, w3)", "(b, w3b)"), weights)
    samples = random.normal(size=(SAMPLES, 33, 31, 3)).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    return save(model, tmp_path / "m.onnx"), tmp_path / "samples.npy", BLOCKED_TENSORS


def activations(model, tensors, samples) -> dict[str, np.ndarray]:
    """Every value of every tensor, as ONNX Runtime has them without its optimizations."""
    proto = onnx.load(str(model))
    inputs = [given.name for given in proto.graph.input]
    given = {output.name for output in proto.graph.output}
    wanted = [name for name in tensors if name not in inputs]
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted if n not in given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    fed = np.load(samples).transpose(0, 3, 1, 2)
    rows = [session.run(wanted, {inputs[0]: fed[i : i + 1]}) for i in range(len(fed))]
    found = {
        name: np.concatenate(values)
        for name, values in zip(wanted, zip(*rows, strict=True), strict=True)
    }
    return found | {inputs[0]: fed}


def contents(table) -> dict:
    return {
        name: {part: array.tolist() for part, array in stats.to_arrays().items()}
        for name, stats in table.items()
    }


@pytest.mark.parametrize("network", ["small", "blocked"])
def test_all_elements_counted_are_all_elements(network, request):
    model, samples, tensors = request.getfixturevalue(network)
    kept = activations(model, tensors, samples)
    found = collect(model, samples, tensors=tensors, every=1)
    assert list(found) == tensors
    for name in tensors:
        values, stats = kept[name].astype(np.float64), found[name]
        assert stats.count == values.size
        assert stats.batches == SAMPLES
        close = {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(
            [stats.minimum, stats.maximum, stats.mean, stats.variance],
            [values.min(), values.max(), values.mean(), values.var()],
            **close,
        )
        for fraction in (0.01, 0.3, 0.5, 0.99):
            low, high = stats.histogram.quantile(fraction)
            true = np.quantile(values, fraction, method="inverted_cdf")
            assert low - 1e-5 <= true <= high + 1e-5
        if values.ndim == 4:
            np.testing.assert_allclose(stats.channel_low, values.min(axis=(0, 2, 3)), **close)
            np.testing.assert_allclose(stats.channel_high, values.max(axis=(0, 2, 3)), **close)


def test_an_input_is_counted_as_it_is(small):
    model, samples, _ = small
    stats = collect(model, samples, tensors=["image"], every=1)["image"]
    values = np.load(samples)
    assert (stats.minimum, stats.maximum) == (values.min(), values.max())
    np.testing.assert_array_equal(stats.channel_low, values.min(axis=(0, 1, 2)))
    np.testing.assert_array_equal(stats.channel_high, values.max(axis=(0, 1, 2)))


@pytest.mark.parametrize("network", ["small", "blocked"])
def test_extremes_are_exact_whatever_is_counted(network, request):
    model, samples, tensors = request.getfixturevalue(network)
    whole = collect(model, samples, tensors=tensors, every=1)
    part = collect(model, samples, tensors=tensors, every=11)
    for name in tensors:
        assert part[name].count < whole[name].count
        assert part[name].minimum == whole[name].minimum
        assert part[name].maximum == whole[name].maximum
        assert part[name].average_maximum == whole[name].average_maximum
        if whole[name].channel_low is not None:
            assert (part[name].channel_low >= whole[name].channel_low).all()
            assert (part[name].channel_high <= whole[name].channel_high).all()


@pytest.mark.parametrize("network", ["small", "blocked"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(0, SAMPLES), max_size=3))
def test_shards_merge_to_the_whole(network, request, cuts):
    model, samples, tensors = request.getfixturevalue(network)
    ends = sorted({0, SAMPLES} | cuts)
    shards = [range(first, last) for first, last in itertools.pairwise(ends)]
    parts = [collect(model, samples, rows, tensors, every=5) for rows in shards]
    whole = collect(model, samples, tensors=tensors, every=5)
    assert contents(merge_tables(*reversed(parts))) == contents(whole)


def test_an_old_operator_set_counts_the_same_elements(tmp_path, small):
    model, samples, tensors = small
    old = save(cnn(opset=9), tmp_path / "old.onnx")
    new, found = (collect(path, samples, tensors=tensors, every=3) for path in (model, old))
    for name in tensors:
        for part in ("counts", "channel_low", "channel_high"):
            if part in (arrays := new[name].to_arrays()):
                np.testing.assert_array_equal(arrays[part], found[name].to_arrays()[part])
        assert found[name].histogram.counts.tolist() == new[name].histogram.counts.tolist()


def test_weights_outside_are_read_where_they_lie(tmp_path, small):
    model, samples, tensors = small
    folder = tmp_path / "outside"
    folder.mkdir()
    outside = save_outside(cnn(), folder / "m.onnx")
    before = sorted(folder.iterdir())
    found = collect(outside, samples, tensors=tensors, every=1)
    assert sorted(folder.iterdir()) == before
    inside = collect(model, samples, tensors=tensors, every=1)
    for name in tensors:
        assert found[name].count == inside[name].count
        assert found[name].maximum == pytest.approx(inside[name].maximum, rel=1e-5)


def test_missing_weights_are_refused(tmp_path, small):
    outside = save_outside(cnn(), tmp_path / "outside.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ValueError, match=r"cannot load .*weights\.bin"):
        collect(outside, small[1], tensors=["a"])


def test_what_gets_a_quantizer_is_counted_by_default(tmp_path, small):
    model, samples, _ = small
    prepare(model, tmp_path / "prepared.onnx")
    found = collect(tmp_path / "prepared.onnx", samples)
    assert {"image", "a", "sum", "scores"} <= set(found)
    assert all(stats.batches == SAMPLES for stats in found.values())


def test_pictures_may_come_channels_first(tmp_path, small):
    model, samples, tensors = small
    np.save(tmp_path / "first.npy", np.load(samples).transpose(0, 3, 1, 2))
    turned = collect(model, tmp_path / "first.npy", tensors=tensors)
    assert contents(turned) == contents(collect(model, samples, tensors=tensors))


@pytest.mark.parametrize("names", [("in_9", "in_10"), ("input_1", "input_0")])
def test_several_inputs_are_fed_by_name_or_in_the_order_of_the_file(tmp_path, names):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    two (float[1, 4] in_10, int64[1] in_9) => (float[1, 4] out) {
        taken = Gather <axis = 0> (w, in_9)
        out = Add (in_10, taken)
    }"""
    model = with_weights(text, {"w": np.arange(12, dtype=np.float32).reshape(3, 4)})
    values = np.random.default_rng(0).random((5, 4), np.float32)
    arrays = np.array([0, 1, 2, 1, 0]), values
    np.savez(tmp_path / "s.npz", **dict(zip(names, arrays, strict=True)))
    path = save(model, tmp_path / "m.onnx")
    found = collect(path, tmp_path / "s.npz", tensors=["in_10", "taken"])
    assert found["in_10"].maximum == values.max()
    assert (found["taken"].minimum, found["taken"].maximum) == (0, 11)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_bad_sample_is_named(small, value):
    model, samples, tensors = small
    values = np.load(samples)
    values[4, :, :, 1] = value
    np.save(samples, values)
    with pytest.raises(ValueError, match=r"tensor image of m\.onnx .* sample 4: the sample itself"):
        collect(model, samples, tensors=tensors)


def test_a_tensor_that_becomes_infinite_is_named(tmp_path):
    model = save(
        with_weights(MATRIX % "Log", {"w": np.eye(8, dtype=np.float32)}), tmp_path / "m.onnx"
    )
    values = np.ones((3, 12, 8), np.float32)
    values[2, 5, 3] = 0  # one of 96 elements, of which every 50th is counted
    np.save(tmp_path / "s.npy", values)
    with pytest.raises(
        ValueError, match=r"tensor out of m\.onnx .* sample 2: look there for a log"
    ):
        collect(model, tmp_path / "s.npy", tensors=["scores", "out"], every=50)


def refused_model(tmp_path, small, text: str, match: str, tensors=None, **weights) -> None:
    path = save(with_weights(text, weights), tmp_path / "refused.onnx")
    with pytest.raises(ValueError, match=match):
        collect(path, small[1], tensors=tensors)


def test_models_that_do_not_fit_are_refused(tmp_path, small):
    head = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>\n'
    taken = "(float[1, 3, 16, 16] image) => "
    custom = f"{head}g {taken}(float[1, 3, 16, 16] y) {{ y = mine.Swish (image) }}"
    shape = f"{head}g {taken}(int64[4] y) {{ y = Shape (image) }}"
    small_picture = f"{head}g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {{ y = Relu (x) }}"
    two = f"{head}g (float[1, 3] x, float[1, 3] z) => (float[1, 3] y) {{ y = Add (x, z) }}"
    refused_model(tmp_path, small, custom, r"cannot load .*refused\.onnx.*Swish", ["image"])
    refused_model(tmp_path, small, shape, r"tensor y of refused\.onnx is INT64", ["y"])
    refused_model(tmp_path, small, shape, r"no tensor 'imag': did you mean image", ["imag"])
    refused_model(tmp_path, small, small_picture, r"takes \(1, 3, 8, 8\).*\(16, 16, 3\)", ["y"])
    refused_model(tmp_path, small, two, r"takes 2 inputs, samples\.npy has 1", ["y"])
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match=r"text\.onnx is not a readable ONNX file"):
        collect(tmp_path / "text.onnx", small[1], tensors=["y"])


def test_sample_files_that_do_not_fit_are_refused(tmp_path, small):
    def refused(array, match: str, saved=np.save) -> None:
        saved(tmp_path / "bad.npy", array)
        with pytest.raises(ValueError, match=match):
            collect(small[0], tmp_path / "bad.npy")

    refused(np.zeros((0, 16, 16, 3), np.float32), "n > 0")
    refused(np.float32(1), "n > 0")
    refused(np.asfortranarray(pictures(2)), "Fortran order")
    refused(np.array([{}]), "cannot be read")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01")
    with pytest.raises(ValueError, match="cannot be read"):
        collect(small[0], tmp_path / "bad.npy")


@given(
    shape=st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple),
    samples=st.integers(1, 2000),
    sample=st.integers(0, 2000),
)
def test_a_step_goes_through_every_side_and_counts_enough(shape, samples, sample):
    size = math.prod(shape)
    step = statistics.step_of(size, samples)
    wanted = max(statistics.COUNTED_OF_EACH, statistics.COUNTED / samples)
    assert 0 <= statistics.start_of(sample, step) < step
    assert step == 1 or size > wanted
    assert all(math.gcd(step, side) == 1 for side in shape)
    counted = len(range(statistics.start_of(sample, step), size, step))
    assert min(size, wanted / 4) <= counted <= 4 * wanted


def test_every_element_is_counted_sooner_or_later():
    step = statistics.step_of(1_000_003, samples=1000)
    assert {statistics.start_of(sample, step) for sample in range(30 * step)} == set(range(step))
