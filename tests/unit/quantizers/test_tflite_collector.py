"""Statistics of a TFLite model's tensors against what TensorFlow computes for each of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from int8gate.quantizers.calibration.statistics import step_of
from int8gate.quantizers.toolchains.tflite.collector import close, collect
from int8gate.quantizers.toolchains.tflite.ranges import activations

SIDE, CHANNELS, SAMPLES = 24, 20, 6


@pytest.fixture(scope="module")
def tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow


def converted(tensorflow, function, *shapes) -> bytes:
    """With a signature, whose inputs are named `in_0`, `in_1`, ... as they come."""
    specs = [tensorflow.TensorSpec(shape, name=f"in_{n}") for n, shape in enumerate(shapes)]
    concrete = tensorflow.function(function, input_signature=specs).get_concrete_function()
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete])
    return converter.convert()


def residual(tensorflow):
    """A network whose sum an interpreter computes in place, and all that it computes."""
    rng = np.random.default_rng(0)
    first, second = (
        tensorflow.constant(rng.normal(0, 0.3, shape).astype(np.float32))
        for shape in ((3, 3, 3, CHANNELS), (3, 3, CHANNELS, CHANNELS))
    )

    def steps(picture):
        a = tensorflow.nn.conv2d(picture, first, 1, "SAME")
        b = tensorflow.nn.conv2d(a, second, 1, "SAME")
        total = a + b
        positive = tensorflow.nn.relu(total)
        return [picture, a, b, total, positive, tensorflow.nn.leaky_relu(total) + positive]

    return steps


@pytest.fixture(scope="module")
def case(tensorflow, tmp_path_factory):
    """The file, the samples, and per sample the values of every step."""
    folder = tmp_path_factory.mktemp("collector")
    steps, shape = residual(tensorflow), (1, SIDE, SIDE, 3)
    model = folder / "model.tflite"
    model.write_bytes(converted(tensorflow, lambda picture: steps(picture)[4:], shape))
    pictures = np.random.default_rng(1).normal(size=(SAMPLES, *shape[1:])).astype(np.float32)
    np.save(folder / "samples.npy", pictures)
    values = [[np.asarray(step) for step in steps(picture[None])] for picture in pictures]
    yield (
        model,
        folder / "samples.npy",
        [np.concatenate(step) for step in zip(*values, strict=True)],
    )
    close()


def test_every_tensor_has_the_range_that_it_really_has(case):
    model, samples, values = case
    found = collect(model, samples)
    assert list(found) == list(activations(model.read_bytes()))
    ends = np.array([(stats.minimum, stats.maximum) for stats in found.values()])
    for step in values:  # also of the sum's inputs, over one of which it is written
        distance = np.abs(ends - (step.min(), step.max())).max(axis=1)
        assert distance.min() < 1e-4, "no tensor has this step's range"


def test_channels_have_their_ranges(case):
    model, samples, values = case
    picture = next(iter(collect(model, samples).values()))
    np.testing.assert_array_equal(picture.channel_low, values[0].min(axis=(0, 1, 2)))
    np.testing.assert_array_equal(picture.channel_high, values[0].max(axis=(0, 1, 2)))


def test_some_elements_are_counted_and_all_are_seen(case):
    model, samples, _ = case
    whole, some = collect(model, samples), collect(model, samples, every=7)
    for name, stats in whole.items():
        size = stats.count // SAMPLES
        assert stats.count == size * SAMPLES, "these are small: every element is counted"
        assert some[name].count == pytest.approx(stats.count / step_of(size, SAMPLES, 7), rel=0.01)
        assert (some[name].minimum, some[name].maximum) == (stats.minimum, stats.maximum)
        deviation = stats.variance**0.5
        assert some[name].mean == pytest.approx(stats.mean, abs=0.1 * deviation)
        assert some[name].variance ** 0.5 == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("cut", range(SAMPLES + 1))
def test_shards_merge_to_the_whole(case, cut):
    model, samples, _ = case
    whole = collect(model, samples)
    first, second = (
        collect(model, samples, range(cut)),
        collect(model, samples, range(cut, SAMPLES)),
    )
    for name, expected in whole.items():
        merged = first[name].merge(second[name]).to_arrays()
        for part, array in expected.to_arrays().items():
            np.testing.assert_array_equal(merged[part], array, err_msg=f"{name} {part}")


def test_inputs_take_arrays_in_the_order_of_their_names(tensorflow, tmp_path):
    model = saved_and_converted(tensorflow, tmp_path)
    small, large = np.ones((2, 4), np.float32), np.full((2, 3), 100, np.float32)
    np.savez(tmp_path / "samples.npz", small, large)
    found = collect(model, tmp_path / "samples.npz")
    ends = {name: (stats.minimum, stats.maximum) for name, stats in found.items()}
    assert (1, 1) in ends.values()
    assert (100, 100) in ends.values()


def saved_and_converted(tensorflow, folder: Path) -> Path:
    module = tensorflow.Module()
    specs = [tensorflow.TensorSpec((1, 4), name="in_0"), tensorflow.TensorSpec((1, 3), name="in_1")]
    module.serve = tensorflow.function(
        lambda a, b: {"out": tensorflow.concat([b * 2.0, a], 1)}, input_signature=specs
    )
    tensorflow.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "model.tflite").write_bytes(converter.convert())
    return folder / "model.tflite"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_sample_is_named(case, tmp_path, value):
    model, samples, _ = case
    pictures = np.load(samples)
    pictures[4, 3, 3, 1] = value
    np.save(tmp_path / "bad.npy", pictures)
    with pytest.raises(
        ValueError, match=r"holds NaN or infinity on calibration sample 4: the samp"
    ):
        collect(model, tmp_path / "bad.npy")


def test_infinity_inside_the_network_names_the_tensor(tensorflow, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(
        converted(tensorflow, lambda x: tensorflow.math.log(tensorflow.nn.relu(x)) * 2.0, (1, 4))
    )
    np.save(tmp_path / "samples.npy", np.array([[1, 2, 3, 4], [1, 2, 3, -4]], np.float32))
    with pytest.raises(ValueError, match=r"tensor \S+ of model.tflite holds .* sample 1: look"):
        collect(model, tmp_path / "samples.npy")


def test_samples_of_another_size_are_refused(case, tmp_path):
    np.save(tmp_path / "samples.npy", np.zeros((2, SIDE, SIDE + 1, 3), np.float32))
    with pytest.raises(ValueError, match=r"takes inputs of \[\(24, 24, 3\)\].* \[\(24, 25, 3\)\]"):
        collect(case[0], tmp_path / "samples.npy")
