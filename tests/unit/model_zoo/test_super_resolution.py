"""Super-resolution: its pairs, and FSRCNN as a network and as a frozen graph."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.super_resolution import (
    SuperResolutionPairs,
    degrade,
    enlarge,
    luminance,
    regions,
)
from int8gate.runtimes.artifact import TFLITE

SPLITS = ("train", "calibration", "evaluation")
seeds = st.integers(0, 2**32 - 1)


def pairs(split: str, size=(16, 16), count: int | None = 1000) -> SuperResolutionPairs:
    return SuperResolutionPairs(split, size, count=count)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPLITS), st.integers(0, 999), st.sampled_from([(16, 16), (12, 20)]))
def test_a_picture_is_its_label_reduced(split, index, size):
    image, label = pairs(split, size).sample(index)
    assert image.shape == (*size, 1)
    assert label.shape == (2 * size[0], 2 * size[1], 1)
    assert image.dtype == label.dtype == np.uint8
    np.testing.assert_array_equal(image, degrade(label))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SPLITS), st.integers(0, 99))
def test_a_pair_does_not_depend_on_how_many_there_are(split, index):
    few, many = pairs(split, count=100).sample(index), pairs(split, count=5000).sample(index)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPLITS[1:]), st.integers(0, 999))
def test_pairs_of_one_source_show_one_region(split, index):
    drawn = pairs(split)
    region = regions(split, (32, 32))[drawn.sources[index]]
    shown = drawn.label(index)
    turned = [np.rot90(side, k) for side in (region, region[:, ::-1]) for k in range(4)]
    assert any(np.array_equal(shown, version) for version in turned)


def test_a_later_round_shows_regions_another_way():
    drawn = pairs("calibration", count=None)
    rounds = [pairs("calibration").label(k * len(drawn)).tobytes() for k in range(8)]
    assert len(set(rounds)) == 8


def test_no_region_stands_in_two_places():
    found = [r.tobytes() for split in SPLITS for r in regions(split, (32, 32))]
    assert len(found) == len(set(found))


def test_evaluation_has_the_sources_that_its_statistics_need():
    evaluated = calibration_data.load("super_resolution", "evaluation", (32, 32), 1)
    assert len(set(evaluated.sources)) == len(evaluated) >= 350
    calibrated = calibration_data.load("super_resolution", "calibration", (32, 32), 1)
    assert len(calibrated) >= 100


def test_every_region_has_detail_that_bicubic_enlargement_misses():
    for region in regions("evaluation", (64, 64))[::7]:
        missed = enlarge(degrade(region)).astype(float) - region
        assert np.sqrt(np.square(missed[2:-2, 2:-2]).mean()) >= 1


@pytest.mark.parametrize(
    ("rgb", "y"), [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81), ((0, 0, 255), 41)]
)
def test_luminance_is_that_of_bt601(rgb, y):
    """Reference values: MATLAB's rgb2ycbcr, ITU-R BT.601."""
    assert luminance(np.full((2, 3, 3), rgb, np.uint8)).tolist() == [[y] * 3] * 2


def test_sets_are_told_apart():
    sets = [pairs("evaluation"), pairs("calibration"), pairs("evaluation", (18, 16))]
    sets += [pairs("evaluation", count=99)]
    assert len({drawn.digest() for drawn in sets}) == len(sets)
    assert pairs("evaluation").digest() == sets[0].digest()


def test_a_network_of_three_channels_is_refused():
    with pytest.raises(ValueError, match="1 channel"):
        calibration_data.load("super_resolution", "evaluation", (32, 32), 3)


def test_a_size_without_regions_is_refused():
    with pytest.raises(ValueError, match="choose a smaller network input"):
        pairs("calibration", (400, 400), None)


@cache
def small_network():
    """FSRCNN with weights that leave traces of every layer in its output."""
    import keras

    from int8gate.model_zoo.families.fsrcnn import fsrcnn

    keras.utils.set_random_seed(0)
    network = fsrcnn((None, None, 1), features=8, shrunk=4, mapping=2)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if layer.trainable_weights:
            drawn = [w + rng.normal(0, 0.1, w.shape).astype(w.dtype) for w in layer.get_weights()]
            layer.set_weights(drawn)
    return network


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_nine_by_nine_transposed_convolution_is_the_networks_end(seed):
    """What the architecture says of the paper's last layer: stride 2, padding "same"."""
    import tensorflow as tf

    from int8gate.model_zoo.families.fsrcnn import interleaving_kernel

    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 7, 9, 3)).astype(np.float32)
    kernel = rng.normal(size=(9, 9, 1, 3)).astype(np.float32)
    expected = tf.nn.conv2d_transpose(features, kernel, (2, 14, 18, 1), 2, "SAME")
    subpixels = np.zeros((5, 5, 3, 4), np.float32)
    for place in range(4):
        for row in range(5):
            for column in range(5):
                y, x = 7 - 2 * row + place // 2, 7 - 2 * column + place % 2
                if 0 <= y < 9 and 0 <= x < 9:
                    subpixels[row, column, :, place] = kernel[y, x, 0]
    squares = tf.nn.conv2d(features, subpixels, 1, "SAME")
    found = tf.nn.conv2d_transpose(squares, interleaving_kernel(), (2, 14, 18, 1), 2, "VALID")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_interleaving_is_depth_to_space():
    import tensorflow as tf

    from int8gate.model_zoo.families.fsrcnn import interleaving_kernel

    squares = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)
    found = tf.nn.conv2d_transpose(squares, interleaving_kernel(), (2, 10, 12, 1), 2, "VALID")
    np.testing.assert_array_equal(found, tf.nn.depth_to_space(squares, 2))


def test_without_its_trunk_the_network_enlarges_bicubically():
    from int8gate.model_zoo.families.fsrcnn import fsrcnn

    network = fsrcnn((None, None, 1), features=8, shrunk=4, mapping=2)
    last = network.get_layer("subpixels")
    last.set_weights([0 * weights for weights in last.get_weights()])
    image, _ = pairs("evaluation").sample(3)
    found = np.array(network(image[None].astype(np.float32)))[0]
    inner = slice(6, -6)  # Pillow and a convolution part at the border
    difference = np.abs(np.clip(found, 0, 255) - enlarge(image))[inner, inner]
    assert difference.max() <= 1


def frozen(written_as: str):
    from int8gate.model_zoo.families import fsrcnn as fsrcnn
    from int8gate.model_zoo.super_resolution import MODELS

    return getattr(fsrcnn, written_as)(small_network(), MODELS[0].compact)


def run_graph(graph_def, image: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run("NHWC_output:0", {"IteratorGetNext:0": image})


BOTH_FORMS = pytest.mark.parametrize("written_as", ["frozen_graph", "opencv_frozen_graph"])


@BOTH_FORMS
def test_the_frozen_graph_is_the_network_at_any_size(written_as):
    graph = frozen(written_as)
    for shape in ((1, 16, 16, 1), (2, 11, 19, 1)):
        image = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
        expected = np.array(small_network()(image))
        np.testing.assert_allclose(run_graph(graph, image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("written_as", "prelu"),
    [
        ("frozen_graph", {"Relu", "Neg", "Mul", "AddV2"}),
        ("opencv_frozen_graph", {"Relu", "Abs", "Sub", "Mul", "AddV2"}),
    ],
)
def test_the_frozen_graph_is_as_those_in_the_wild(written_as, prelu):
    nodes = frozen(written_as).node
    (entry,) = [node for node in nodes if node.op == "Placeholder"]
    assert entry.name == "IteratorGetNext"
    assert [dim.size for dim in entry.attr["shape"].shape.dim] == [-1, -1, -1, 1]
    operators = {node.op for node in nodes}
    assert prelu | {"Conv2D"} <= operators
    control = {"Enter", "Switch", "While", "If", "PartitionedCall", "StatefulPartitionedCall"}
    assert not operators & {*control, "VarHandleOp", "ReadVariableOp"}


@BOTH_FORMS
def test_the_frozen_graph_converts_to_integers_alone(written_as, tmp_path):
    """Neg is what stays float without a word where a PReLU is not recognized."""
    from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph
    from int8gate.quantizers.calibration import thresholds
    from int8gate.quantizers.recipe import RECIPES
    from int8gate.quantizers.toolchains.tflite import convert as tflite
    from int8gate.quantizers.toolchains.tflite.collector import collect
    from int8gate.runtimes.tflite_graph import read_graph
    from int8gate.runtimes.tflite_integers import float_operators

    images, _ = next(pairs("calibration").batches(4))
    samples = images.astype(np.float32) / 255
    np.save(tmp_path / "samples.npy", samples)
    (tmp_path / "source.pb").write_bytes(frozen(written_as).SerializeToString())
    import_frozen_graph(tmp_path / "source.pb", tmp_path, samples)
    saved_model = tmp_path / "saved_model"
    tflite.convert(saved_model, RECIPES["tflite_fp32"], None, tmp_path)
    float_model = tmp_path / TFLITE
    ranges = thresholds.ranges(collect(float_model, tmp_path / "samples.npy"), "min_max")
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    described = tflite.quantize(float_model, RECIPES["tflite_int8"], ranges, (0.0, 1.0), quantized)
    assert not float_operators(read_graph(quantized / TFLITE))
    assert described["notes"] == []
    pixels = float_model, RECIPES["tflite_int8_pixels"]
    described = tflite.quantize(*pixels, ranges, (0.0, 0.25), quantized)  # few, dark
    assert described["notes"] == []
    assert described["inputs"][0]["scale"] == pytest.approx(0.25 / 255)
    described = tflite.quantize(*pixels, ranges, (0.0, 255.0), quantized)  # nothing is near that
    assert "tflite_int8_pixels had no effect" in described["notes"][0]


def test_noise_of_training_is_not_there_at_inference():
    import keras

    from int8gate.model_zoo.families.fsrcnn import fsrcnn

    networks = []
    for noise in (0.0, 2.0):
        keras.utils.set_random_seed(0)
        networks.append(fsrcnn((None, None, 1), features=8, shrunk=4, mapping=1, noise=noise))
    quiet, noisy = networks
    noisy.set_weights(quiet.get_weights())
    image = np.random.default_rng(0).uniform(0, 1, (1, 16, 16, 1)).astype(np.float32)
    np.testing.assert_array_equal(quiet(image, training=False), noisy(image, training=False))
    assert not np.array_equal(noisy(image, training=False), noisy(image, training=True))
