"""A network of which an output, or a channel, is broken does not pass: of any task, in any format.

The float model is a file in its format; the artifact is that model with something broken, and
perfect otherwise. What a quantizer breaks is shown in `test_fidelity.py`, on figures alone.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx_files
import own_tasks
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import UNIT
from int8gate.calibration_data.sample_set import SampleSet
from int8gate.model_zoo.spec import Network
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.sessions import open_session
from int8gate.validation import evaluation, gates
from int8gate.validation.expectations import expectations_for

ARTIFACT = "artifact.onnx"
EXPECTED = expectations_for("net-onnx_int8")
SAMPLES = 24
JOINED = ["scores", "maps", "joined", "number"]  # the outputs of the networks below


class Squares(SampleSet):
    """Grey noise with a red square, and a blue one in half of the pictures: see `own_tasks`."""

    def __init__(self, side: int):
        self.name, self.side, self.sources = "squares", side, np.arange(SAMPLES)

    def __len__(self):
        return SAMPLES

    def sample(self, index):
        rng = np.random.default_rng(index)
        picture = np.repeat(rng.integers(90, 160, (self.side, self.side, 1)), 3, axis=2)
        size = self.side // 4
        for kind in range(1 + index % 2):
            column = [0, self.side // 2][kind] + 4 * rng.integers(1, 3)
            row = 2 + 4 * rng.integers(0, (self.side - size) // 4)
            picture[row : row + size, column - 2 : column - 2 + size] = own_tasks.COLOURS[kind]
        return picture.astype(np.uint8), np.int64(0)


class Broken:
    """The artifact: a session that gives what `reference` does, but for what `breakage` does."""

    def __init__(self, reference, side: int, output: int, axis_and_channel, breakage):
        self._reference, self._output = reference, output
        self._where, self._breakage = axis_and_channel, breakage
        self.is_broken = False  # the order of equal numbers cannot be
        taken = (1, side, side, 3)
        given = reference.predict(np.zeros(taken, np.float32))
        self.inputs = (TensorSpec("image", taken, "float32"),)
        self.outputs = tuple(
            TensorSpec(f"out{n}", values.shape, "float32") for n, values in enumerate(given)
        )

    def predict(self, *inputs, pixel_range=None):
        found = [np.array(values) for values in self._reference.predict(*inputs)]
        broken = found[self._output % len(found)]
        where = (...,)
        if self._where:
            axis, channel = self._where[0] % broken.ndim, self._where[1]
            where = (*[slice(None)] * axis, channel % broken.shape[axis])
        before = broken[where].copy()
        broken[where] = self._breakage(before)
        self.is_broken |= not np.array_equal(before, broken[where])
        return found


def zeroed(values):
    return np.zeros_like(values)


def constant(values):
    return np.full_like(values, 0.3)


def shuffled(values):
    return np.roll(values, 7, axis=0)


def without_zero_point(values):
    return values + max(values.max(), 0) / 2 - min(values.min(), 0) / 2


BREAKAGES = st.sampled_from([zeroed, constant, shuffled, without_zero_point])


def judge(monkeypatch, reference, scoring, folder, breakage, output=0, channel=None):
    """The gate's result for an artifact in which that is broken."""
    artifact = Broken(reference, scoring.network.size[0], output, channel, breakage)
    sessions = {ARTIFACT: artifact}
    monkeypatch.setattr(evaluation, "open_session", lambda path, **_: sessions.get(path, reference))
    found = evaluation.evaluate(ARTIFACT, "reference", scoring, SAMPLES, None, folder)
    assume(artifact.is_broken or breakage is unbroken)
    task = scoring.agreement or "other"
    rows, agreement = found["fidelity"], found["agreement"]
    return gates.fidelity_gate(rows, agreement, EXPECTED, task, "net-onnx_int8"), found


def unbroken(values):
    return values


# --- formats ---


def _write_onnx(folder):
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3, 8, 8] image) => (float[1, 5] scores, float[1, 3, 8, 8] maps,
                                      float[1, 7, 64] joined, float[1, 1] number) {
        maps = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w1)
        pooled = GlobalAveragePool (maps)
        flat = Flatten (pooled)
        logits = Gemm (flat, w2)
        scores = Softmax <axis = 1> (logits)
        number = Gemm (flat, w3)
        rows = Reshape (maps, sides)
        squashed = Sigmoid (rows)
        boxes = Mul (squashed, large)
        few = Conv <kernel_shape = [1]> (squashed, w4)
        low = Sigmoid (few)
        joined = Concat <axis = 1> (boxes, low)
    }"""
    arrays = {
        "w1": rng.normal(0, 0.3, (3, 3, 3, 3)),
        "w2": rng.normal(0, 1, (3, 5)),
        "w3": rng.normal(0, 3, (3, 1)),
        "w4": rng.normal(0, 2, (4, 3, 1)),
        "large": np.array(640.0),
    }
    arrays = {name: np.float32(values) for name, values in arrays.items()}
    arrays["sides"] = np.array([1, 3, 64])
    return onnx_files.save(onnx_files.with_weights(text, arrays), folder / "net.onnx")


def _write_program(folder):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.few = nn.Conv2d(3, 3, 3, padding=1), nn.Conv1d(3, 4, 1)
            self.classes, self.one = nn.Linear(3, 5), nn.Linear(3, 1)

        def forward(self, image):
            maps = 3 * self.first(image)
            flat = maps.mean((2, 3))
            squashed = maps.flatten(2).sigmoid()
            joined = torch.cat([640 * squashed, self.few(squashed).sigmoid()], 1)
            return self.classes(2 * flat).softmax(1), maps, joined, self.one(flat)

    torch.manual_seed(0)
    program = torch.export.export(Net().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, str(folder / "net.pt2"))
    return folder / "net.pt2"


def _module():
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    maps = layers.Conv2D(3, 3, padding="same")(image)
    flat = layers.GlobalAveragePooling2D()(maps)
    scores = layers.Dense(5, activation="softmax")(layers.Rescaling(2.0)(flat))
    squashed = layers.Activation("sigmoid")(layers.Reshape((64, 3))(maps))
    boxes = layers.Rescaling(640.0)(squashed)
    low = layers.Conv1D(4, 1, activation="sigmoid")(layers.Rescaling(4.0)(squashed))
    joined = layers.Concatenate(axis=2)([boxes, low])
    network = keras.Model(image, [scores, maps, joined, layers.Dense(1)(flat)])
    module = tf.Module()
    module.network = network
    taken = tf.TensorSpec((1, 8, 8, 3), tf.float32, name="image")
    module.serve = tf.function(
        lambda image: dict(zip("abcd", network(image), strict=True)), input_signature=[taken]
    )
    return module


def _write_keras(folder):
    import tensorflow as tf

    module = _module()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def _write_tflite(folder):
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(_module().serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    (folder / "net.tflite").write_bytes(converter.convert())
    return folder / "net.tflite"


FORMATS = {
    "onnx": _write_onnx,
    "pt2": _write_program,
    "keras": _write_keras,
    "tflite": _write_tflite,
}


@functools.cache
def _samples(side: int) -> Squares:
    return Squares(side)


@pytest.fixture(scope="module", params=sorted(FORMATS))
def network(request, tmp_path_factory):
    """A session of the float file; and the axis of the joined output's channels."""
    path = FORMATS[request.param](tmp_path_factory.mktemp(request.param))
    return open_session(path), 1 if request.param in ("onnx", "pt2") else -1


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(output=st.integers(0, 3), channel=st.none() | st.integers(0, 6), breakage=BREAKAGES)
def test_in_every_format(network, tmp_path, output, channel, breakage):
    reference, axis = network
    where = None if channel is None else (axis, channel)
    declared = Network("", (8, 8, 3), (8, 8), 5)
    scoring = evaluation.Scoring(_samples(8), UNIT, (), declared, outputs=tuple(JOINED))
    with pytest.MonkeyPatch.context() as patch:
        whole, _ = judge(patch, reference, scoring, tmp_path, unbroken)
        assert whole.status == "passed", whole.message
        result, found = judge(patch, reference, scoring, tmp_path, breakage, output, where)
    assert result.status == "failed", found
    assert f"output {JOINED[output]}" in result.message


# --- tasks ---

HEADS = {  # the model of `own_tasks`, its decoder
    "detection": ("detector", "int8gate.model_zoo.user_models.known_heads:ctdet"),
    "keypoints": ("keypoints", "int8gate.model_zoo.user_models.known_heads:heatmaps"),
    "pose": ("people", f"{__name__}:people"),
    "segmentation": ("segmenter", "int8gate.model_zoo.user_models.decoding:pixel_scores"),
    "super_resolution": ("enlarger", None),
    "classification": ("classifier", "int8gate.model_zoo.user_models.decoding:rows"),
}


def people(outputs, declared):
    """As the hook that `own_tasks` writes for its users."""
    module: dict = {}
    exec(own_tasks.HOOK.format(places=own_tasks.PLACES.tolist()), module)
    return module["people"](outputs, declared)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    own_tasks.write_models(folder)
    onnx_files.save(onnx_files.cnn("1, 3, 64, 64", seed=3), folder / "classifier.onnx")
    return folder


@pytest.mark.parametrize("task", sorted(HEADS))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(output=st.integers(0, 2), channel=st.none() | st.integers(0, 16), breakage=BREAKAGES)
def test_of_every_task(models, tmp_path, task, output, channel, breakage):
    name, decode = HEADS[task]
    reference = open_session(models / f"{name}.onnx")
    side = reference.inputs[0].shape[2]
    told = {"layout": "nchw"}
    declared = Network("", (side, side, 3), (side, side), 2, arguments=told)
    answers = {"decode": decode, "agreement": task} if decode else {}
    scoring = evaluation.Scoring(_samples(side), UNIT, (), declared, **answers)
    where = None if channel is None else (1, channel)
    with pytest.MonkeyPatch.context() as patch:
        whole, found = judge(patch, reference, scoring, tmp_path, unbroken)
        assert whole.status == "passed", whole.message
        assert found["agreement"] == (pytest.approx(1) if decode else None)
        result, found = judge(patch, reference, scoring, tmp_path, breakage, output, where)
    assert result.status == "failed", (found["agreement"], found["fidelity"])


def test_a_decoder_that_was_guessed_may_refuse_and_a_declared_one_may_not(models, tmp_path):
    reference = open_session(models / "detector.onnx")
    declared = Network("", (64, 64, 3), (64, 64), 2, arguments={"layout": "nchw"})
    decode = "int8gate.model_zoo.user_models.decoding:detections"  # of a file that tells nothing
    for is_guess in (True, False):
        answers = {"decode": decode, "agreement": "detection", "decode_is_guess": is_guess}
        scoring = evaluation.Scoring(_samples(64), UNIT, (), declared, **answers)
        with pytest.MonkeyPatch.context() as patch:
            if is_guess:
                assert judge(patch, reference, scoring, tmp_path, unbroken)[1]["agreement"] is None
                continue
            with pytest.raises(ValueError, match="what they mean is not known: add decode"):
                judge(patch, reference, scoring, tmp_path, unbroken)
